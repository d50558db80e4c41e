"""Telemetry: what jobs and endpoints say makes no series without end."""

from program_service.telemetry import MOST_REASONS, OTHER_REASON, Metrics


def test_codes_of_errors_make_so_many_series_and_no_more() -> None:
    metrics = Metrics()
    for number in range(MOST_REASONS + 7):
        metrics.put_off("charge", f"code_{number}")
    metrics.put_off("charge", "code_0")
    (family,) = (each for each in metrics.registry.collect() if each.name.endswith("step_retries"))
    counted = {
        sample.labels["reason"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert len(counted) == MOST_REASONS + 1
    assert (counted["code_0"], counted[OTHER_REASON]) == (2, 7)


def test_statuses_that_nobody_assigned_make_one_series_of_a_job() -> None:
    metrics = Metrics()
    for code in (*range(1_000), "no_answer", "timeout"):
        metrics.call_ended("charge", code)
    (family,) = (each for each in metrics.registry.collect() if "callback_req" in each.name)
    counted = {sample.labels["code"]: sample.value for sample in family.samples}
    assert {"200", "404", "503", "no_answer", "timeout", OTHER_REASON} <= counted.keys()
    assert len(counted) < 80
    assert sum(counted.values()) == 1_002
