"""The stages of dvc.yaml: ingest, prepare, train, evaluate, with the report that evaluate writes.

Imports tracking and core. Each stage is a module of its name, called by DVC as `modelcycle STAGE`; what it reads and
writes is listed in dvc.yaml. `cluster` lets searches and batch prediction run on Dask.
"""
