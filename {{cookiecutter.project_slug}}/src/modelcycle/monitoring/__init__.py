"""Monitor the model in production, and retrain it: data drift, live quality, reports, feedback.

Imports serving, release, pipeline, tracking and core. Offers the verbs `monitor` and `retrain`.
"""
