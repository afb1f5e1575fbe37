"""What every room builds on: contract, parameters, settings, paths, errors, files, metrics, models and plots.

Imports no other room, and knows neither MLflow, DVC, git nor FastAPI. Your own package may import from here:
`from modelcycle.core.contract import Contract`.
Add here what two rooms need; what one of them needs lives in that room.
"""
