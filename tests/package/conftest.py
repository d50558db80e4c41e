"""What the tests of packages share: an sdist and a wheel, built once."""

import pytest

from installing import Built, NoUvError, uv


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build an sdist, and from it the wheel, as `uv build` does for a release."""
    folder = tmp_path_factory.mktemp("dist")
    try:
        uv("build", "--quiet", "--out-dir", folder)
    except NoUvError as error:
        pytest.skip(str(error))
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)
