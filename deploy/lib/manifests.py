"""What the checkers from the registries do not check of deploy/: called by deploy/check, once for each part.

Each check returns what is wrong, a line each; nothing wrong is success.
"""

import json
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
METRIC = re.compile(r"\brollcall_[a-z0-9_]+")
# The oldest version that the manifests are meant for.
KUBERNETES = "1.33.0"
WORKERS = ["fetcher", "classifier", "writer", "flag-sync"]
PROBES = {"startupProbe": "/health/startup", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def kubernetes(rendered):
    objects = list(yaml.safe_load_all(Path(rendered).read_text()))
    wrong = list(schema_errors(objects))
    yield from wrong or promises(objects)


def schema_errors(objects):
    import kubernetes_validate

    for thing in objects:
        name = f"{thing['kind']} {thing['metadata']['name']}"
        if thing["apiVersion"].startswith("keda.sh/"):
            yield from (f"{name}: {error}" for error in keda_errors(thing))
            continue
        try:
            kubernetes_validate.validate(thing, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{name}: {'.'.join(map(str, error.path))}: {error.message}"


def keda_errors(thing):
    """Against models generated from KEDA's own CRDs, made strict: the API server prunes what it does not know."""
    from cloudcoil.models.keda import v1alpha1
    from jsonschema import Draft202012Validator

    schema = getattr(v1alpha1, thing["kind"]).model_json_schema(by_alias=True)
    make_strict(schema)
    for error in Draft202012Validator(schema).iter_errors(thing):
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    for trigger in thing.get("spec", {}).get("triggers", []):
        # The metadata of a trigger is a free map in the CRD: what each scaler needs, by KEDA's documentation.
        needed = {
            "rabbitmq": {"protocol", "queueName", "mode", "value", "vhostName"},
            "prometheus": {"serverAddress", "query", "threshold"},
        }[trigger["type"]]
        if missing := needed - trigger["metadata"].keys():
            yield f"trigger {trigger['type']}: {sorted(missing)} are missing"


def make_strict(schema):
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            make_strict(value)
    elif isinstance(schema, list):
        for value in schema:
            make_strict(value)


def promises(objects):
    """What we say of every pod, whatever a schema admits."""
    named = {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects}
    for (kind, name), thing in named.items():
        if kind in ("Deployment", "Job"):
            unwatched = kind == "Job" or thing["spec"].get("replicas") == 0
            yield from (f"{kind} {name}: {wrong}" for wrong in pod_errors(thing["spec"]["template"], unwatched))
    for role in [*WORKERS, "web"]:
        if ("Deployment", role) not in named or ("PodDisruptionBudget", role) not in named:
            yield f"{role}: has no Deployment, or no PodDisruptionBudget"
    for role in WORKERS:
        scaled = named.get(("ScaledObject", role))
        kinds = {trigger["type"] for trigger in scaled["spec"]["triggers"]} if scaled else set()
        if kinds != {"rabbitmq", "prometheus"}:
            yield f"{role}: is not scaled by both length and age: {sorted(kinds)}"
    deny = named.get(("NetworkPolicy", "default-deny"), {}).get("spec", {})
    if deny != {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}:
        yield "no NetworkPolicy denies everything by default"
    if any(thing["kind"] == "Secret" for thing in objects):
        yield "a Secret is made here; secrets are only referred to"
    for thing in objects:
        yield from (f"{thing['kind']} {thing['metadata']['name']}: {wrong}" for wrong in replacing_errors(thing, named))


def replacing_errors(thing, named):
    """A Job is replaced by Argo CD and by Flux. A hook before the sync has nothing yet of what the sync makes."""
    notes = thing["metadata"].get("annotations", {})
    hooks = notes.get("argocd.argoproj.io/hook", "").split(",")
    if thing["kind"] == "Job" and ("PreSync" not in hooks or notes.get("kustomize.toolkit.fluxcd.io/force") != "enabled"):
        yield "is not replaced by both Argo CD and Flux"
    if "PreSync" in hooks:
        yield from (f"runs before the sync, and needs {kind} {name}, which the sync makes" for kind, name in referred(thing) if (kind, name) in named)


def referred(part):
    """The ConfigMaps and Secrets that an object does not start without."""
    kinds = {"configMapRef": "ConfigMap", "configMapKeyRef": "ConfigMap", "configMap": "ConfigMap"}
    kinds |= {"secretRef": "Secret", "secretKeyRef": "Secret", "secret": "Secret"}
    for key, inner in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else []:
        if key in kinds and isinstance(inner, dict) and not inner.get("optional"):
            yield kinds[key], inner.get("name", inner.get("secretName"))
        yield from referred(inner)


def pod_errors(template, unwatched):
    """`unwatched`: it runs to its end, or only while somebody works in it, and nobody asks how it is."""
    spec, container = template["spec"], template["spec"]["containers"][0]
    pod, own = spec["securityContext"], container["securityContext"]
    checks = {
        "is not kept from being root": pod.get("runAsNonRoot") and pod.get("runAsUser", 0) > 0,
        "has no seccomp profile": pod.get("seccompProfile") == {"type": "RuntimeDefault"},
        "has a token for the API server": spec.get("automountServiceAccountToken") is False,
        "may write its file system": own.get("readOnlyRootFilesystem") is True,
        "may gain privileges": own.get("allowPrivilegeEscalation") is False,
        "keeps capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "has no memory limit": "memory" in container["resources"]["limits"],
        "asks for no resources": {"cpu", "memory"} <= container["resources"]["requests"].keys(),
        "has no image tag": not container["image"].endswith(":latest") and ":" in container["image"],
        "has a secret in its environment": not any("valueFrom" in entry for entry in container.get("env", [])),
    }
    if not unwatched:
        for probe, path in PROBES.items():
            checks[f"has no {probe}"] = container.get(probe, {}).get("httpGet", {}).get("path") == path
    return [wrong for wrong, good in checks.items() if not good]


# --- alerts and dashboards --------------------------------------------------------------------------------------------


def known_metrics():
    text = (ROOT / "docs/METRICS.md").read_text()
    return set(METRIC.findall(text))


def unknown(expression):
    for name in METRIC.findall(expression):
        if re.sub(r"_(bucket|sum|count)$", "", name) not in known_metrics() and name not in known_metrics():
            yield name


def alerts():
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    tests = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]
    fired, rested = set(), set()
    for case in (case for test in tests for case in test["alert_rule_test"]):
        (fired if case["exp_alerts"] else rested).add(case["alertname"])
    rules = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    for name, rule in rules.items():
        page = ROOT / rule["annotations"].get("runbook_url", "missing")
        if page != ROOT / f"docs/runbooks/{name}.md" or not page.is_file():
            yield f"{name}: no runbook page {page}"
        elif missing := [head for head in ("## What it means", "## Look", "## Do", "## Drill") if head not in page.read_text()]:
            yield f"{page.name}: lacks {missing}"
        if rule["labels"]["severity"] not in ("page", "ticket"):
            yield f"{name}: severity is page or ticket"
        if name not in fired or name not in rested:
            yield f"{name}: alerts_test.yml has to fire it once, and once not"
        yield from (f"{name}: {metric} is not in docs/METRICS.md" for metric in unknown(rule["expr"]))
    for page in (ROOT / "docs/runbooks").glob("Rollcall*.md"):
        if page.stem not in rules:
            yield f"{page.name}: there is no such alert"


def dashboards():
    uids = set()
    for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for key in ("uid", "title", "description", "panels", "schemaVersion"):
            if not board.get(key):
                yield f"{path.name}: lacks {key}"
        if board["uid"] in uids:
            yield f"{path.name}: its uid is another's too"
        uids.add(board["uid"])
        ids = [panel["id"] for panel in board["panels"]]
        if len(ids) != len(set(ids)):
            yield f"{path.name}: two panels have one id"
        queries = [variable["query"] for variable in board["templating"]["list"]]
        for panel in board["panels"]:
            if not panel.get("description") or not panel["targets"]:
                yield f"{path.name}: {panel['title']}: lacks a description or a query"
            queries += [target["expr"] for target in panel["targets"]]
        for query in queries:
            yield from (f"{path.name}: {metric} is not in docs/METRICS.md" for metric in unknown(query))


# --- broker -----------------------------------------------------------------------------------------------------------


def broker():
    """That rights suffice and queues are as the program declares them is proved by the end-to-end test `deploy`."""
    definitions = json.loads((DEPLOY / "rabbitmq/definitions.json").read_text())
    users = {user["name"]: user for user in definitions["users"]}
    wanted = {f"rollcall-{role}" for role in [*WORKERS, "web", "ops", "monitoring"]}
    if users.keys() != wanted:
        yield f"users are {sorted(users)}"
    for user in users.values():
        if user["password_hash"]:
            yield f"{user['name']}: a password's hash stands in the repository"
        if set(user["tags"]) - {"monitoring"}:
            yield f"{user['name']}: is more than a monitoring user"
    for right in definitions["permissions"]:
        for kind in ("configure", "write", "read"):
            if not right[kind].startswith("^"):
                yield f"{right['user']}: {kind} is not anchored"
        yield from (f"{right['user']}: {wrong}" for wrong in too_much(right, definitions))
    for right in definitions["topic_permissions"]:
        if right["user"] != "rollcall-ops" and right["read"] != "^$":
            yield f"{right['user']}: may bind a queue of its own to routing keys"
    for policy in definitions["policies"]:
        if policy["definition"].keys() & {"message-ttl", "expires"} or policy["definition"].get("overflow") == "drop-head":
            yield f"policy {policy['name']}: lets messages go without a word"
    for queue in definitions["queues"]:
        if queue["name"].endswith(".parked") and queue["arguments"].keys() - {"x-queue-type", "x-delivery-limit"}:
            yield f"{queue['name']}: what is parked is deleted by the classifier alone, which notes it in the audit trail"
    topics = {right["user"] for right in definitions["topic_permissions"]}
    if missing := wanted - topics - {"rollcall-monitoring"}:
        yield f"{sorted(missing)}: may publish with any routing key"


def too_much(right, definitions):
    """Only the operators declare and bind. A right to read counts for exchanges of that name too, and would bind a queue to them."""
    if right["user"] == "rollcall-ops":
        return
    if right["configure"] != "^$":
        yield "may declare and delete"
    names = [thing["name"] for kind in ("queues", "exchanges") for thing in definitions[kind]]
    for name in {*names, "amq.topic", "amq.rabbitmq.trace"}:
        if re.search(right["read"], name) and (not name.startswith("rollcall.") or ".retry." in name):
            yield f"may read {name}"


def main():
    part, arguments = sys.argv[1], sys.argv[2:]
    wrong = list({"kubernetes": kubernetes, "alerts": alerts, "dashboards": dashboards, "broker": broker}[part](*arguments))
    for line in wrong:
        print(f"deploy: {part}: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
