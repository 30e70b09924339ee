"""Users' own files as datasets: where labelled files are found, how they are kept and served."""
