"""Deliver a version: build its image, push it, deploy it, and look for known vulnerabilities in what it holds.

Imports release, pipeline, tracking and core. Offers the verbs `image`, `push`, `deploy`, `undeploy` and `audit`; what
is specific to a platform is a script in deploy/.
"""
