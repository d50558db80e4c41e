"""Restate, three calls of other handlers over HTTP: the match of our callback jobs."""

import restate_app

if __name__ == "__main__":
    restate_app.main("calls")
