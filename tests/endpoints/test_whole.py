"""The example endpoints in a program of the real service, called by a real worker."""

from endpoints.playing import SECRET
from program_service.bookkeeping.database import Database
from serving import on_a_socket, serving

ALLOW = "127.0.0.0/8"


async def test_program_runs_through_python_node_and_a_node_library(
    database: Database, python_endpoint: str, node_endpoint: str, late_library_url: str
) -> None:
    endpoints = {
        "quick": f"{python_endpoint}/quick",
        "slow": f"{node_endpoint}/slow",
        "import_customers": late_library_url,
        "charge": late_library_url,
    }
    program_data = {"prices": [5, 7], "rounds": 2, "pause_s": 0.01, "pages": 3, "cents": 12}
    async with serving(database, callback_allow=ALLOW) as service, on_a_socket(service) as url:
        for name, endpoint in endpoints.items():
            job = {"url": endpoint, "secret": SECRET}
            answer = await service.client.put(f"/jobs/{name}", json=job)
            assert answer.status_code == 201, answer.text
        await service.crew.hire(callback_allow=ALLOW, service_url=url)
        program = await service.submit(*endpoints, program_data=program_data)
        ended = await service.ended(program["run_id"])
    assert ended["status"] == "finished", ended
    assert ended["job_data"] == {
        "quick": {"total": 12},
        "slow": {"rounds": 2},
        "import_customers": {"page": 3},
        "charge": {"receipt": f"{program['run_id']}: 12 cents"},
    }
