"""Deliver a version: build its image, push it, deploy it.

Imports release, pipeline, tracking and core. Offers the verbs `image`, `push`, `deploy` and `undeploy`; what is
specific to a platform is a script in deploy/.
"""
