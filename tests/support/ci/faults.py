"""Faults to plant in each provider's file: its schema, its linters or its reader have to find them."""

CHECK = "      - run: make check\n"
CALL = "    uses: ./.github/workflows/change.yml"
PUSH = "    if: github.event_name == 'push'\n"
READS = f"{PUSH}    permissions:\n      contents: read\n"
PASSED = "    secrets:\n      DVC_CONFIG: ${{ secrets.DVC_CONFIG }}\n"
ALL_PASSED = f"{PASSED}      MLFLOW_TRACKING_URI: ${{{{ secrets.MLFLOW_TRACKING_URI }}}}\n"
JOBS = "jobs:\n  change:"
GROUP = "concurrency:\n  group: change-${{ github.event.pull_request.number || github.run_id }}\n"
RENDER = "      - run: make update PROPOSE=1\n"
CACHE = "      - uses: actions/cache@0400d5f644dc74513175e3cd8d07132dd4860809\n        with: {path: .venv, key: venv}\n"
TEST, PIPELINE = (f"  - {name}:\n      jobs: [{name}]\n" for name in ("test", "pipeline"))
SOURCED, PROBE = "            . bamboo-specs/environment.sh\n", "            echo $bamboo_REGISTRY_USER\n"
ON_MAIN = (
    "        conditions:\n          - variable:\n              equals:\n                planRepository.branch: main\n"
)
BRANCH, TIMER = "        branch 'main'\n", "        not { triggeredBy 'TimerTrigger' }\n"
CRON = "    cron(env.BRANCH_NAME == 'main' ? 'H 3 * * *' : '')\n"
ARCHIVE = "            archiveArtifacts artifacts: 'reports/service.digest,reports/service.cdx.json'\n"
BUILD = "            sh 'make login image push'\n"
SCHEDULED = "    if: github.event_name == 'schedule'\n    runs-on: ubuntu-24.04\n"
RENDER_JOB = f"{SCHEDULED}    timeout-minutes: 15\n    permissions:\n      contents: read\n"
SET_URL = '            git remote set-url origin "$bamboo_planRepository_repositoryUrl"\n'
PUSHED = """                withCredentials([gitUsernamePassword(credentialsId: 'GIT_PUSH')]) {
                  sh 'make update PROPOSE=1'
                }
"""
DATABASE = "        env:\n          X: ${{ secrets.DATABASE_URL }}\n"
FAULTS = {  # kind, right, wrong, a part of the complaint
    "github": [
        ("syntax", "jobs:\n", "jobs\n", "yaml: "),
        ("key", "    runs-on: ubuntu-24.04\n", "    run-on: ubuntu-24.04\n", "'runs-on' is a required property"),
        (
            "key",
            "needs: check\n",
            "needs: check\n    continue-on-error: true\n",
            "reader: test: unknown continue-on-error",
        ),
        ("key", "    timeout-minutes: 15\n", "", "reader: check: no timeout"),
        ("value", "timeout-minutes: 15", "timeout-minutes: long", "'long' is not of type 'number'"),
        ("need", "needs: pipeline", "needs: pipelines", "reader: system: needs: unknown pipelines"),
        ("need", "needs: release", "needs: staging", "reader: image: needs: unknown staging"),
        ("need", "    needs: change\n", "", "table: release: when: "),
        ("need", "    needs: change\n", PUSH, "table: release: needs: "),
        ("need", "    needs: pipeline\n", "    needs: check\n", "table: system: needs: "),
        ("call", CALL, CALL.replace("change", "changes"), "reader: change: uses: unknown ./.github/workflows/changes"),
        ("call", CALL, f"    continue-on-error: true\n{CALL}", "schema: "),
        ("call", PASSED, "    secrets:\n", "reader: change: ./.github/workflows/change.yml asks for other secrets"),
        ("call", PASSED, PASSED.replace("s.DVC_CONFIG", "s.DATABASE_URL"), "reader: test: one workflow runs it in"),
        ("call", ALL_PASSED, "    secrets: inherit\n", "reader: change: ./.github/workflows/change.yml asks for other"),
        ("call", READS, PUSH, "reader: change: permissions: unknown None"),
        ("call", READS, READS.replace("read", "write"), "change.yml needs other permissions"),
        ("step", "make gate", "make gaet", "table: pipeline: calls: "),
        ("step", "make gate", "make gate || true", "table: pipeline: calls: "),
        ("step", CHECK, "      - run: 'true'\n", "table: check: calls: "),
        ("order", "fetch verify compare", "fetch compare verify", "table: pipeline: calls: "),
        ("artefact", "path: reports/tests.xml", "path: reports/test.xml", "table: test: keeps: "),
        ("artefact", "reports/service.digest\n", "reports/*.digests\n", "table: image: keeps: "),
        (
            "artefact",
            "path: reports\n",
            "path: report\n",
            "or to another folder",
        ),
        ("condition", PUSH, PUSH.replace("event_name", "event_nam"), "reader: change: unknown github.event_nam"),
        ("condition", PUSH, "", "table: check: when: "),
        ("condition", "  pull_request:\n", "", "reader: workflow: unknown concurrency"),
        ("condition", "branches: [main]", "branches: [main, dev]", "reader: on: pushes to other branches than main"),
        ("condition", "github.ref == 'refs/heads/main' && ", "", "reader: deploy: unknown inputs.verb == NAME"),
        ("condition", '  schedule:\n    - cron: "23 3 * * *"\n', "", "table: monitor: when: "),
        ("condition", "[monitor, retrain, ", "[monitor, ", "reader: retrain: nobody can choose it"),
        ("condition", " && inputs.verb == 'deploy'", "", "reader: deploy: unknown github.ref"),
        (
            "step",
            "VERSION: ${{ inputs.version }}",
            "VERSION: ${{ inputs.digests }}",
            "rollback: inputs: unknown digests",
        ),
        ("approval", "environment: ${{ inputs.environment }}", "environment: release", "table: deploy: "),
        ("approval", "environment: production", "environment: staging", "table: production: person: False"),
        ("secret", "${{ secrets.REGISTRY_PASSWORD }}", "hunter2hunter2", "secrets: a secret in clear text"),
        ("secret", CHECK, CHECK + DATABASE, "reader: check: one workflow runs it in another way"),
        ("secret", "environment: release", "environment: staging", "table: release: variables: "),
        ("secret", "restore-keys: ", "restore-keys: ${{ secrets.DVC_CONFIG }}", "reader: check: actions/cache is"),
        ("rights", "contents: read", "contents: write", "reader: check: checkout needs"),
        ("rights", "permissions:\n      contents: read", "permissions: write-all", "excessive-permissions"),
        ("rights", "persist-credentials: false", "clean: true", "artipacked"),
        ("rights", RENDER_JOB, RENDER_JOB.replace("read", "write"), "reader: update: checkout needs"),
        ("rights", RENDER, CACHE + RENDER, "reader: update: unknown actions/cache"),
        ("secret", RENDER, RENDER + DATABASE, "table: update: variables: "),
        ("need", "    needs: update\n", "", "table: propose: needs: "),
        ("pin", "@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "@v5", "unpinned-uses"),
        ("script", "make check", "make check ${{ github.head_ref }}", "template-injection"),
        ("script", 'DIGEST="$digest"', "DIGEST=$digest", "SC2086"),
        ("depth", "fetch-depth: 0", "fetch-depth: 1", "reader: check: checkout needs fetch-depth: 0"),
        ("cancel", "pull_request.number || github.run_id", "pull_request.number", "reader: workflow: unknown concurr"),
        ("cancel", JOBS, GROUP + JOBS, "reader: workflow: unknown concurrency"),
        ("cancel", "cancel-in-progress: false", "cancel-in-progress: true", "reader: release: it may be stopped"),
    ],
    "gitlab": [
        ("syntax", "stages: [check", "stages: [check]\n  check", "yaml: "),
        ("key", "  script:\n    - make check", "  scripts:\n    - make check", "schema: "),
        ("key", "stage: test\n", "stage: test\n  allow_failure: true\n", "reader: test: unknown allow_failure"),
        ("value", "when: always", "when: allways", "'allways' is not one of"),
        ("value", "timeout: 60 minutes", "timeout: [60]", "[60] is not of type 'string'"),
        ("need", "  stage: pipeline\n", "  stage: pipelin\n", "reader: pipeline: unknown stage pipelin"),
        ("need", "extends: .main", "extends: .mainn", "reader: release: extends: unknown .mainn"),
        ("need", "stage: release\n", "stage: check\n", "table: release: needs: "),
        ("step", "make gate", "make gates", "table: pipeline: calls: "),
        ("step", "    - make gate\n", "", "table: pipeline: calls: "),
        ("order", "system, release, image", "system, image, release", "table: image: needs: "),
        ("artefact", "[reports/service.digest,", "[reports/service.digests,", "table: image: keeps: "),
        ("condition", '!= "schedule" && $VERB', '!= "schedule && $VERB', "reader: check: unknown $CI_PIPELINE_SOURCE"),
        ("condition", "extends: .main", "extends: .change", "table: release: when: "),
        ("condition", '", monitor, retrain, ', '", monitor, ', "reader: retrain: nobody can choose it"),
        ("condition", '&& $VERB == "deploy"', "", "reader: deploy: unknown $CI_COMMIT_BRANCH"),
        ("step", 'VERSION="$VERSION"', 'VERSION="$VERSIONS"', "reader: rollback: variable: unknown VERSIONS"),
        ("approval", "name: $ENVIRONMENT", "name: staging", "table: deploy: person: False"),
        ("approval", "      when: manual\n", "", "table: production: person: False"),
        ("secret", "GIT_AUTHOR_NAME: CI", "DB_PASSWORD: hunter2hunter2", "secrets: a secret in clear text"),
        (
            "secret",
            "extends: .change\n",
            "extends: .change\n  variables: {X: $DATABASE_URL}\n",
            "table: check: variables",
        ),
        ("secret", "- make check\n", "- make check\n    - echo $DATABASE_URL\n", "secrets: check: DATABASE_URL"),
        ("secret", "name: staging", "name: production", "table: staging: variables: "),
        ("script", 'DIGEST="$digest"', "DIGEST=$digest", "SC2086"),
        ("depth", '  GIT_DEPTH: "0"', '  GIT_DEPTH: "1"', "table: check: variables: "),
        ("need", "needs: [update]", "needs: [monitor]", "table: propose: needs: "),
        ("artefact", "paths: [reports/update.bundle]", "paths: [reports/updates]", "table: propose: takes: "),
        ("rights", "  cache: []\n", "", "reader: update: a cache of other jobs"),
    ],
    "jenkins": [
        ("syntax", "sh 'make check'", "sh 'make check", "reader: steps: unknown sh 'make check"),
        (
            "syntax",
            "sh 'make check'\n          }\n",
            "sh 'make check'\n",
            "reader: stage('check'): unknown stage('test')",
        ),
        ("syntax", "digest=\\$(cat", "digest=$(cat", "reader: deployTo: unknown $"),
        ("key", "options { timeout(time: 15", "option { timeout(time: 15", "reader: stage('check'): unknown option"),
        ("key", "parallel {", "parallel {\n      failFast true", "reader: parallel: unknown failFast true"),
        ("key", "      agent { label 'mlops' }\n", "", "reader: check: no agent or no timeout"),
        ("need", "credentials('DVC_CONFIG')", "credentials('DVC')", "table: test: variables: "),
        ("need", "agent { label 'mlops' }", "agent { label 'mlop' }", "reader: agent: unknown label 'mlop'"),
        ("need", "      parallel {", "      stages {", "table: retrain: needs: "),
        ("step", "make gate", "make gates", "table: pipeline: calls: "),
        ("step", "            sh 'make gate'\n", "", "table: pipeline: calls: "),
        ("step", "deployTo 'staging'", "deployAt 'staging'", "reader: steps: unknown deployAt"),
        ("step", "deployTo 'staging'", "deployTo 'production'", "table: staging: calls: "),
        ("order", "fetch verify compare", "fetch compare verify", "table: pipeline: calls: "),
        ("artefact", "unstash 'image'", "unstash 'picture'", "reader: staging: stash: unknown picture"),
        ("artefact", "junit 'reports/tests.xml'", "junit 'reports/test.xml'", "table: test: keeps: "),
        ("artefact", BUILD + ARCHIVE, ARCHIVE + BUILD, "would be kept before a script has written it"),
        ("condition", "branch 'main'", "brunch 'main'", "reader: when: unknown brunch 'main'"),
        ("condition", BRANCH + TIMER, BRANCH, "reader: stage('deliver'): unknown branch 'main'"),
        ("condition", BRANCH + TIMER, TIMER, "table: release: when: "),
        ("condition", CRON, "", "table: monitor: when: "),
        ("condition", "'monitor', 'retrain', ", "'monitor', ", "table: retrain: when: "),
        ("condition", "            expression { params.VERB == 'deploy' }\n", "", "reader: stage('deploy'): unknown"),
        ("step", 'VERSION="$VERSION"', 'VERSION="$VERSIONS"', "reader: rollback: variable: unknown VERSIONS"),
        ("secret", "DEPLOY_ACCESS_${params.", "DEPLOY_ACCESS_${env.", "reader: steps: unknown withCredentials"),
        ("approval", "submitter 'maintainers'", "ok 'Go'", "reader: production: anybody may approve"),
        ("approval", "        beforeInput true\n", "", "reader: production: anybody may approve, or is asked"),
        ("secret", "CI = 'true'", "DB_PASSWORD = 'hunter2hunter2'", "secrets: a secret in clear text"),
        ("secret", "    CI = 'true'", "    X = credentials('DATABASE_URL')", "table: check: variables: "),
        ("secret", "DEPLOY_ACCESS_PRODUCTION", "DEPLOY_ACCESS_STAGING", "table: production: variables: "),
        ("script", 'DIGEST="\\$digest"', "DIGEST=\\$digest", "SC2086"),
        ("rights", "                sh 'make update PROPOSE=1'\n", PUSHED, "table: update: pushes: True"),
        ("artefact", "unstash 'update'", "unstash 'updates'", "reader: propose: stash: unknown updates"),
    ],
    "bamboo": [
        ("syntax", "stages:\n", "stages\n", "yaml: "),
        ("key", "requirements: [mlops]", "requirement: [mlops]", "reader: check: unknown requirement"),
        ("key", "timeout 15m make check", "make check", "reader: check: no timeout"),
        ("value", "polling: 60", "polling: often", "schema: $.triggers[0]"),
        ("need", "jobs: [pipeline]", "jobs: [pipelines]", "reader: stages: job: unknown pipelines"),
        ("need", "[monitor, retrain, audit]", "[monitor, audit]", "reader: plan: unknown retrain"),
        ("need", ", retrain, audit]", ", audit]\n  - second:\n      jobs: [retrain]", "table: retrain: needs: "),
        (
            "rights",
            "            timeout 15m make update",
            f"{SET_URL}            timeout 15m make update",
            "update: pushes",
        ),
        ("step", "make gate", "make gates", "table: pipeline: calls: "),
        ("step", "            timeout 30m make gate\n", "", "table: pipeline: calls: "),
        ("step", f"            set -eu\n{SOURCED}", SOURCED, "reader: check: a script does not begin with set -eu"),
        ("order", TEST + PIPELINE, PIPELINE + TEST, "table: test: needs: "),
        ("artefact", "- artifact: Image", "- artifact: Picture", "reader: staging: artifact: unknown Picture"),
        ("artefact", "      shared: true\n", "", "reader: staging: artifact: unknown Image"),
        ("artefact", "results: [reports/tests.xml]", "results: [reports/test.xml]", "table: test: keeps: "),
        ("condition", "planRepository.branch: m", "planRepository.brunch: m", "reader: release: unknown condition"),
        ("condition", ON_MAIN, "", "table: release: when: "),
        ("condition", "create: for-pull-request", "create: manually", "reader: plan: unknown"),
        ("condition", "triggers: []", "triggers: [{polling: 60}]", "reader: plan: unknown (2, 'RETRAIN', 'polling'"),
        ("step", 'VERSION="$VERSION"', 'VERSION="$VERSIONS"', "table: rollback: calls: "),
        ("approval", "manual: true", "manual: false", "table: production: person: False"),
        ("secret", '"${bamboo_REGISTRY_PASSWORD:-}"', '"hunter2hunter2"', "secrets: a secret in clear text"),
        ("secret", SOURCED, SOURCED + PROBE, "secrets: check: REGISTRY_USER"),
        ("secret", "DEPLOY_ACCESS_PRODUCTION", "DEPLOY_ACCESS_STAGING", "table: production: variables: "),
        ("script", 'DIGEST="$digest"', "DIGEST=$digest", "SC2086"),
    ],
}
