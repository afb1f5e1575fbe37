"""Where the pipeline's files lie, from the repository's top folder."""

from pathlib import Path

CONTRACT = Path("contract.yaml")
PARAMS = Path("params.yaml")
EXAMPLE = Path("example")  # the template's data, which `adopt` replaces by the team's own
RAW = Path("data/raw.parquet")
FEEDBACK = Path("data/feedback.parquet")  # labelled rows of the prediction log, which retrain writes
TRAIN = Path("data/train.parquet")
TEST = Path("data/test.parquet")
REJECTS = Path("data/rejects.csv")
PROFILE = Path("data/profile.json")
MODEL = Path("models/model.skops")
JUDGED = Path("models/judged.skops")  # as it was before `train.refit` fitted it on all rows; otherwise the same
METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions.parquet")
EXPECTED = Path("reports/expected.json")
INTERVALS = Path("reports/intervals.csv")
SLICES = Path("reports/slices.csv")
CALIBRATION = Path("reports/calibration.csv")
BASELINES = Path("reports/baselines.csv")
IMPORTANCE = Path("reports/importance.csv")
REPORT = Path("reports/report.html")
