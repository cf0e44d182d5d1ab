"""Pages: their code runs, their links lead somewhere."""
