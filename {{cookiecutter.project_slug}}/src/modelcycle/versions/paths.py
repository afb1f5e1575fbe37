"""Where the files lie that come after the pipeline: of versions, monitoring and process."""

from pathlib import Path

QUESTIONS = Path("reports/questions.json")  # with the answers that a version gave when it was released
RELEASE_REPORT = Path("reports/release.html")
MONITORING = Path("reports/monitoring.json")
MONITORING_REPORT = Path("reports/monitoring.html")
REVIEW = Path("reports/review.html")
MODEL_CARD = Path("docs/model_card.md")
DATA_CARD = Path("docs/data_card.md")
PHASE_PAGES = Path("docs/crisp-dm")
DEFINITION_OF_DONE = Path("docs/scrum/done.md")
PROCESS_STATE = Path("reports/process.json")
