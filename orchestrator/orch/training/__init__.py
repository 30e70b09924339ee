"""Training on Keras 3: knows neither Ray nor SQL nor any one plugin."""
