# What every script runs with; Bamboo's own variables reach scripts as bamboo_NAME only.
export CI=true UV_LOCKED=1
export GIT_AUTHOR_NAME=CI GIT_AUTHOR_EMAIL=ci@example.com GIT_COMMITTER_NAME=CI GIT_COMMITTER_EMAIL=ci@example.com
