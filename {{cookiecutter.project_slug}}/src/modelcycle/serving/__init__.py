"""Answers: the service over HTTP and predictions for files.

Imports release, pipeline, tracking and core. Offers the verbs `serve` and `predict`. The service's image holds what
`serve` imports, without MLflow, DVC and git.
"""
