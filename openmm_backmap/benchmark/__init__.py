"""Measuring models: evaluation on structures, peers on the same inputs."""
