"""Wake-ups: messages that name programs to look at, and nothing else."""
