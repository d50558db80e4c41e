"""Keys: made once, kept as hashes, and read from the settings."""

import pytest

from program_service.api.auth import Keyring, digest_of, new_key


def test_keys_are_kept_as_hashes() -> None:
    key = new_key("shop")
    assert key.startswith("pe_shop_")
    assert key != new_key("shop")
    keyring = Keyring.parse(f"shop=submit+read:{digest_of(key)}")
    caller = keyring.caller(f"Bearer {key}")
    assert caller is not None
    assert caller.name == "shop"
    assert key not in repr(vars(keyring))


@pytest.mark.parametrize(
    "entry",
    [
        "shop",
        "shop=submit",
        f"shop=submit:{'a' * 63}",
        f"shop=submit:{'x' * 64}",
        f"shop=fly:{'a' * 64}",
        f"=submit:{'a' * 64}",
        f"shop=:{'a' * 64}",
        f"shop=submit+:{'a' * 64}",
        pytest.param(new_key("shop"), id="a-key"),
    ],
)
def test_entry_of_another_form_is_refused_and_told_how_to_make_one(entry: str) -> None:
    with pytest.raises(ValueError, match="program-executor keys new"):
        Keyring.parse(entry)
