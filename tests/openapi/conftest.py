"""What the tests of the OpenAPI document share: the document itself."""

from typing import Any

import pytest

from program_executor.commands.documents import openapi_document


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    return openapi_document()
