"""Restate, three steps in one handler."""

import restate_app

if __name__ == "__main__":
    restate_app.main("steps")
