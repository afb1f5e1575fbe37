"""Where results come from: git, DVC, and the runs in the MLflow store.

Imports core. Offers a strict `git`, the parts of dvc.yaml that commands edit (`dvc_file`), and the store.
"""
