"""Demo: a program that imports a file page by page, stumbles once, and writes a report."""
