"""Whether a dataset is fit to train on: what does not decode, what is there twice, what is rare."""
