"""Export: a trained network as a folder of model files that run without TensorFlow, each proven equal to it."""
