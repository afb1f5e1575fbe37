"""Bring a version to where it runs: build its image, push it, deploy it.

Imports release, pipeline, tracking and core. Offers the verbs `image`, `push`, `deploy` and `undeploy`; what is
particular to a platform is a script in deploy/.
"""
