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
