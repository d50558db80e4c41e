"""Run the command line as `python -m program_executor`."""

from program_executor.cli import main

main()
