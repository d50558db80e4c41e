"""Profiles: services that people talk to often, their addresses and keys, in a file of the user."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import typer

from program_executor.errors import UsageError

FOLDER = "program-executor"
FILE = "profiles.toml"


@dataclass(frozen=True, slots=True)
class Profile:
    """A service, and the key for it."""

    url: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Profiles:
    """All profiles, and which is used when none is named."""

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    current: str | None = None

    @classmethod
    def load(cls) -> Self:
        """Read them from the user's file.

        Raises:
            UsageError: the file is not as we write it.
        """
        path = profiles_file()
        if not path.exists():
            return cls()
        from program_service.toml_files import BadFile, read_toml  # noqa: PLC0415 - when needed

        try:
            content = read_toml(path)
            found = {name: Profile(**each) for name, each in content.get("profiles", {}).items()}
        except BadFile as error:
            message = f"{error}; repair or remove it"
            raise UsageError(message) from error
        except (ValueError, TypeError, AttributeError) as error:
            message = f"{path} cannot be read as profiles: {error}; repair or remove it"
            raise UsageError(message) from error
        return cls(found, content.get("current"))

    def named(self, name: str) -> Profile:
        """Return a profile.

        Raises:
            UsageError: there is none of this name.
        """
        if name not in self.profiles:
            known = ", ".join(self.profiles) or "none"
            message = (
                f"there is no profile {name!r} (there is: {known}); make it with"
                f" `program-executor profile add {name} --url …`"
            )
            raise UsageError(message)
        return self.profiles[name]

    def with_profile(self, name: str, profile: Profile) -> "Profiles":
        """Add a profile, or put it in the place of the one of this name; the first is used."""
        return Profiles({**self.profiles, name: profile}, self.current or name)

    def without(self, name: str) -> "Profiles":
        """Take a profile away."""
        kept = {other: each for other, each in self.profiles.items() if other != name}
        return Profiles(kept, None if self.current == name else self.current)

    def store(self) -> None:
        """Write them for this user's eyes alone; whoever reads meanwhile sees the old ones."""
        path = profiles_file()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes files of mode 0600
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{FILE}.")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(self._as_toml())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _as_toml(self) -> str:
        import tomli_w  # noqa: PLC0415 - for those who change profiles alone

        current: dict[str, Any] = {"current": self.current} if self.current else {}
        profiles = {name: _given(each) for name, each in self.profiles.items()}
        return tomli_w.dumps(current | {"profiles": profiles})


def profiles_file() -> Path:
    """Return where the profiles are kept: in the user's configuration folder (XDG)."""
    return Path(typer.get_app_dir(FOLDER)) / FILE


def _given(profile: Profile) -> dict[str, str]:
    return {name: value for name, value in asdict(profile).items() if value is not None}
