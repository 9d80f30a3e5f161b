"""What several files of deploy/ and docs/ say of the same thing: that they say the same. Called by deploy/check with the
rendered Kubernetes objects, and with a directory that deploy/secrets has filled for an AMQPS broker.

Each check returns what is wrong, a line each; nothing wrong is success.
"""

import json
import math
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
WORKERS = ["fetcher", "classifier", "writer", "flag-sync"]
# Scaled to 1 by hand, and to 0 again.
BY_HAND = ["ops", "owner"]
# PostgreSQL keeps so many for superusers (superuser_reserved_connections).
RESERVED = 3


def page(name):
    return (ROOT / "docs" / name).read_text()


def section(text, title):
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ")[0]


class Cluster:
    """The rendered objects, and the pods among them."""

    def __init__(self, path):
        objects = list(yaml.safe_load_all(Path(path).read_text()))
        self.named = {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects}
        self.pods = {name: thing["spec"]["template"] for (kind, name), thing in self.named.items() if kind in ("Deployment", "Job")}

    def all(self, kind):
        return {name: thing for (of, name), thing in self.named.items() if of == kind}

    def container(self, pod):
        return self.pods[pod]["spec"]["containers"][0]

    def ports(self, pod):
        return {port["containerPort"]: port["name"] for port in self.container(pod).get("ports", [])}

    def selected(self, selector):
        return [name for name, pod in self.pods.items() if fits(selector, pod["metadata"]["labels"])]


def fits(selector, labels):
    wanted = selector.get("matchLabels", {}).items()
    either = selector.get("matchExpressions", [])
    return all(labels.get(key) == value for key, value in wanted) and all(labels.get(e["key"]) in e["values"] for e in either)


# --- queues -----------------------------------------------------------------------------------------------------------


def queues(cluster):
    """A role is scaled by the queues that its user may consume from, all of them, by length and by age."""
    definitions = json.loads((DEPLOY / "rabbitmq/definitions.json").read_text())
    vhosts = {vhost["name"] for vhost in definitions["vhosts"]}
    work = [queue["name"] for queue in definitions["queues"] if not re.search(r"\.parked$|\.retry\.", queue["name"])]
    read = {right["user"]: right["read"] for right in definitions["permissions"]}
    for role in WORKERS:
        triggers = [trigger["metadata"] | {"type": trigger["type"]} for trigger in cluster.all("ScaledObject")[role]["spec"]["triggers"]]
        expected = {queue for queue in work if re.match(read[f"rollcall-{role}"], queue)}
        length = {trigger["queueName"] for trigger in triggers if trigger["type"] == "rabbitmq"}
        aged = [re.search(r'queue=~"([^"]*)"', trigger["query"]).group(1) for trigger in triggers if trigger["type"] == "prometheus"]
        age = {f"rollcall.{queue}" for queue in "|".join(aged).split("|")}
        for by, found in (("length", length), ("age", age)):
            if found != expected:
                yield f"{role}: scaled by the {by} of {sorted(found)}, and its broker user consumes from {sorted(expected)}"
        if not {trigger["vhostName"] for trigger in triggers if trigger["type"] == "rabbitmq"} <= vhosts:
            yield f"{role}: scaled by queues of a virtual host that definitions.json does not have"


# --- secrets ----------------------------------------------------------------------------------------------------------


def secrets_used(cluster):
    used = {}
    for pod in cluster.pods.values():
        for volume in pod["spec"].get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                secret = source["secret"]
                used.setdefault(secret["name"], set()).update(item["key"] for item in secret["items"])
    for login in cluster.all("TriggerAuthentication").values():
        for target in login["spec"]["secretTargetRef"]:
            used.setdefault(target["name"], set()).add(target["key"])
    return used


def secrets_made(text):
    """By the commands of the page: name, key, and the file of deploy/secrets it is made from."""
    for line, roles in commands(text):
        if found := re.search(r'create secret generic "?([\w$-]+)"? --from-file=([\w.]+)="?DIR/([\w$.-]+)"?', line):
            for role in roles:
                yield tuple(part.replace("$role", role) for part in found.groups())


def commands(text):
    """Each line of the page's commands, with what `$role` is in it."""
    roles = [""]
    for line in text.splitlines():
        if loop := re.match(r"for role in ([\w -]+); do", line):
            roles = loop.group(1).split()
        yield line, roles
        if line.startswith("done"):
            roles = [""]


def secrets(cluster, folder):
    made = {}
    for name, key, file in secrets_made(section(page("DEPLOY.md"), "Kubernetes")):
        made.setdefault(name, set()).add(key)
        if not (folder / file).is_file():
            yield f"docs/DEPLOY.md makes {name} from {file}, which deploy/secrets does not make"
    if made != (used := secrets_used(cluster)):
        yield f"docs/DEPLOY.md makes the Secrets {made}, and what is used is {used}"
    monitoring = (folder / "monitoring-url").read_text().strip()
    if not re.fullmatch(r"https://rollcall-monitoring:[0-9a-f]+@[\w.]+:15671", monitoring):
        yield "deploy/secrets has the monitoring user's password cross the network in the clear, beside an AMQPS broker"


# --- ports ------------------------------------------------------------------------------------------------------------


def ports(cluster):
    admitted, reachable = {name: set() for name in cluster.pods}, {name: set() for name in cluster.pods}
    for name, policy in cluster.all("NetworkPolicy").items():
        pods = cluster.selected(policy["spec"]["podSelector"])
        if not pods:
            yield f"NetworkPolicy {name} is for no pod"
        inward = {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]}
        if unheard := inward - {port for pod in pods for port in cluster.ports(pod)}:
            yield f"NetworkPolicy {name} admits to ports {sorted(unheard)}, which no pod of it has"
        for pod in pods:
            admitted[pod] |= inward
            reachable[pod] |= set(outward(policy))
    for pod in cluster.pods:
        yield from listening_errors(cluster, pod, admitted[pod])
        for place in destinations(cluster, pod) - reachable[pod]:
            yield f"{pod}: no NetworkPolicy lets it reach {place[0]}, port {place[1]}"
    yield from service_errors(cluster)


def outward(policy):
    for rule in policy["spec"].get("egress", []):
        for to in rule["to"]:
            place = to.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", "outside")
            yield from ((place, port["port"]) for port in rule["ports"])


def listening_errors(cluster, pod, admitted):
    container, own = cluster.container(pod), cluster.ports(pod)
    listens = {int(word.rsplit(":", 1)[1]) for word in container.get("args", []) if re.fullmatch(r"0\.0\.0\.0:\d+", word)}
    if listens != own.keys():
        yield f"{pod}: listens on {sorted(listens)} and names the ports {sorted(own)}"
    if shut := own.keys() - admitted:
        yield f"{pod}: no NetworkPolicy admits anybody to its ports {sorted(shut)}"
    scraped = cluster.pods[pod]["metadata"].get("annotations", {}).get("prometheus.io/port")
    if own and own.get(int(scraped or 0)) != "metrics":
        yield f"{pod}: is scraped on port {scraped}, which is not where its metrics are"


def destinations(cluster, pod):
    """Where a pod has to get to: by the URLs that the page hands to deploy/secrets, and the collector's."""
    urls = re.search(r"deploy/secrets DIR (\S+) '(\S+)'", page("DEPLOY.md")).groups()
    configuration = next(thing for name, thing in cluster.all("ConfigMap").items() if name.startswith("rollcall"))
    urls = [*urls, configuration["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"]]
    places = [re.match(r"\w+://[\w-]+\.([\w-]+):(\d+)", url).groups() for url in urls]
    needed = {(namespace, int(port)) for namespace, port in places}
    # A migration speaks to the database alone, and who speaks to a SIS or a platform does so over https.
    needed -= {(namespace, int(port)) for namespace, port in places[:1]} if pod == "migrate" else set()
    return needed | ({("outside", 443)} if pod in ("fetcher", "flag-sync", "web", "ops") else set())


def service_errors(cluster):
    for name, service in cluster.all("Service").items():
        for pod in (pods := cluster.selected({"matchLabels": service["spec"]["selector"]})):
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in cluster.ports(pod).values():
                    yield f"Service {name} leads to port {port['targetPort']}, which {pod} does not have"
        if not pods:
            yield f"Service {name} leads to no pod"


# --- the database's connections ---------------------------------------------------------------------------------------


def connections(cluster):
    """Of as many pods as there can ever be: all that KEDA may start, one more of each while it is rolled out, those by hand."""
    total = 0
    for name in cluster.pods:
        own = [entry["value"] for entry in cluster.container(name)["env"] if entry["name"] == "ROLLCALL_DATABASE_CONNECTIONS"]
        if not own:
            yield f"{name}: has as many database connections as the program has by default; set ROLLCALL_DATABASE_CONNECTIONS"
        total += most(cluster, name) * int(own[0] if own else 16)
    documented = re.search(r"\*\*(\d+)\*\* connections.*?`max_connections = (\d+)`", section(page("DEPLOY.md"), "Kubernetes"), re.S)
    if not documented:
        yield "docs/DEPLOY.md does not say how many connections there are at most, and of which max_connections"
        return
    said, limit = map(int, documented.groups())
    if total != said:
        yield f"docs/DEPLOY.md says that pods have at most {said} connections, and it is {total}"
    if total > limit - RESERVED:
        yield f"pods may have {total} connections, of {limit} less {RESERVED} that docs/DEPLOY.md asks of the database"


def most(cluster, name):
    if name in cluster.all("Job") or name in BY_HAND:
        return 1
    deployment = cluster.all("Deployment")[name]["spec"]
    scaled = cluster.all("ScaledObject").get(name)
    pods = scaled["spec"]["maxReplicaCount"] if scaled else deployment["replicas"]
    return pods + deployment["strategy"]["rollingUpdate"]["maxSurge"]


# --- compose, systemd -------------------------------------------------------------------------------------------------


def compose(_cluster):
    services = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
    address = services["web"]["environment"]["ROLLCALL_PUBLIC_URL"]
    if not address.startswith(("${ROLLCALL_PUBLIC_URL:?", "https://")):
        yield f"compose: web's ROLLCALL_PUBLIC_URL is {address}, and web takes https:// only; there is no default that is right"
    if "ROLLCALL_PUBLIC_URL=https://" not in section(page("DEPLOY.md"), "Compose: one machine"):
        yield "docs/DEPLOY.md does not say that compose needs ROLLCALL_PUBLIC_URL"
    for name, file in (("ops", "ops.toml"), ("owner", "migrate.toml")):
        service = services.get(name, {})
        if service.get("secrets") != [file, "key"] or not any(":/districts" in volume for volume in service.get("volumes", [])):
            yield f"compose: {name} has to have {file}, the key and the district files"
    ours = {name for name, service in services.items() if service.get("image", "").startswith("rollcall:")}
    if ours != {*WORKERS, "web", "migrate", *BY_HAND}:
        yield f"compose: our services are {sorted(ours)}"
    jobs = yaml.safe_load((DEPLOY / "compose/prometheus.yml").read_text())["scrape_configs"]
    scraped = {(name, found["port"]) for job in jobs for found in job.get("dns_sd_configs", []) for name in found["names"]}
    if scraped != (listening := {(name, port) for name in ours for port in metrics_ports(services[name])}):
        yield f"compose: Prometheus asks {sorted(scraped)}, and metrics are at {sorted(listening)}"


def metrics_ports(service):
    """A worker's `--listen`, or the address for metrics alone."""
    words = service.get("command", [])
    option = "--metrics-listen" if "--metrics-listen" in words else "--listen"
    return [int(words[words.index(option) + 1].rsplit(":", 1)[1])] if option in words else []


def mounts(service):
    """Where a service's volumes come from, by where they are in its container."""
    return {parts[1]: parts[0] for parts in (volume.split(":") for volume in service.get("volumes", []))}


def collector(_cluster):
    """What the collector is started with can be read, has whatever its pipelines name, and listens where spans are sent."""
    compose = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    service = compose["services"]["otel-collector"]
    started = service["command"][service["command"].index("--config") + 1]
    source = mounts(service).get(started)
    if source is None or not (DEPLOY / "compose" / source).is_file():
        yield f"compose: the collector is started with {started}, which is no file that is mounted there: {source}"
        return
    settings = yaml.safe_load((DEPLOY / "compose" / source).read_text())
    if "traces" not in settings["service"]["pipelines"]:
        yield f"{source}: takes no traces"
    for name, pipeline in settings["service"]["pipelines"].items():
        for kind in ("receivers", "processors", "exporters"):
            if missing := set(pipeline.get(kind, [])) - (settings.get(kind) or {}).keys():
                yield f"{source}: the pipeline {name} names {kind} that are not there: {sorted(missing)}"
            if kind != "processors" and not pipeline.get(kind):
                yield f"{source}: the pipeline {name} has no {kind}"
    protocols = settings["receivers"]["otlp"]["protocols"]
    listens = {int(protocol["endpoint"].rsplit(":", 1)[1]) for protocol in protocols.values()}
    for name, place in compose["services"].items():
        endpoint = (place.get("environment") or {}).get("OTEL_EXPORTER_OTLP_ENDPOINT")
        if endpoint and (urlsplit(endpoint).hostname != "otel-collector" or urlsplit(endpoint).port not in listens):
            yield f"compose: {name} sends spans to {endpoint}, and the collector listens on {sorted(listens)}"
    if not any("OTEL_EXPORTER_OTLP_ENDPOINT" in (place.get("environment") or {}) for place in compose["services"].values()):
        yield "compose: nobody sends spans to the collector"


def grafana(_cluster):
    """Its data source is the one of the dashboards, and asks compose's Prometheus; the dashboards lie where it looks for them."""
    services = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
    mounted = {place: (DEPLOY / "compose" / source).resolve() for place, source in mounts(services["grafana"]).items() if source.startswith(".")}
    if mounted.get("/etc/grafana/provisioning") != DEPLOY / "grafana/provisioning":
        yield f"compose: Grafana has its provisioning from {mounted.get('/etc/grafana/provisioning')}"
    sources = [source for file in provisioned("datasources") for source in file["datasources"]]
    for source in sources:
        url = urlsplit(source["url"])
        if source["type"] != url.hostname or url.hostname not in services or url.port != 9090:
            yield f"grafana: the data source {source['name']} asks {source['url']}, which is no Prometheus of compose's"
    uids = {source["uid"] for source in sources}
    boards = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
    for board in boards:
        if not (asked := set(asked_of(json.loads(board.read_text())))) or asked - uids:
            yield f"{board.name}: asks the data sources {sorted(asked)}, and there are {sorted(uids)}"
    paths = [provider["options"]["path"] for file in provisioned("dashboards") for provider in file["providers"]]
    if not boards or [mounted.get(path) for path in paths] != [DEPLOY / "grafana/dashboards"]:
        yield f"grafana: dashboards are looked for in {paths}, where compose does not mount them"


def provisioned(kind):
    return [yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "grafana/provisioning" / kind).glob("*.yaml"))]


def asked_of(part):
    """The uid of every data source that a dashboard names; what Grafana has of its own is none."""
    if isinstance(part, dict):
        source = part.get("datasource")
        if isinstance(source, dict) and source.get("type") != "grafana":
            yield source.get("uid")
        elif isinstance(source, str):
            yield source
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
        yield from asked_of(inner)


def systemd(_cluster):
    """Every worker that has an environment file is started by the page."""
    enabled = re.findall(r"rollcall-worker@\{([\w,-]+)\}", section(page("DEPLOY.md"), "systemd"))
    with_file = {path.stem for path in (DEPLOY / "systemd/environment").glob("*.env")} - {"web"}
    if not enabled or set(enabled[0].split(",")) != with_file or with_file != set(WORKERS):
        yield f"docs/DEPLOY.md enables the workers {enabled}, and there are settings for {sorted(with_file)}"
    jobs = yaml.safe_load((DEPLOY / "systemd/prometheus.yml").read_text())["scrape_configs"]
    asked = sorted(target for job in jobs for found in job["static_configs"] for target in found["targets"])
    files = (DEPLOY / "systemd/environment").glob("*.env")
    if asked != (listening := sorted(re.search(r"^LISTEN=(\S+)", path.read_text(), re.M).group(1) for path in files)):
        yield f"systemd: Prometheus asks {asked}, and metrics are at {listening}"


def broker_versions(_cluster):
    """The broker that compose starts is one of a release, of a version that the tests were run with, and none that cannot work with its users."""
    image = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]["rabbitmq"]["image"]
    version = re.fullmatch(r"rabbitmq:((\d+\.\d+)\.\d+)-management", image)
    tested = re.search(r"\(tested: ([^)]+)\)", page("OPERATIONS.md"))
    if not version or not tested or version.group(2) not in re.findall(r"\d+\.\d+", tested.group(1)):
        yield f"compose: the broker is {image}, and docs/OPERATIONS.md names as tested {tested and tested.group(1)}"
    elif version.group(1) in ("4.2.6", "4.3.0"):
        yield f"compose: {image} lets nobody look at a queue who may not declare it (docs/DEPLOY.md)"


# --- draining ---------------------------------------------------------------------------------------------------------


def drain():
    """What the program takes at most to stop, in whole seconds: src/ending.rs."""
    found = re.search(r"const LIMIT: Duration = Duration::from_millis\(([\d_]+)\)", (ROOT / "src/ending.rs").read_text())
    return math.ceil(int(found.group(1)) / 1000)


def draining(cluster):
    longest = drain()
    waits = {name: pod["spec"].get("terminationGracePeriodSeconds", 30) for name, pod in cluster.pods.items() if name not in cluster.all("Job")}
    for path in (DEPLOY / "systemd").glob("*.service"):
        if stop := re.search(r"^TimeoutStopSec=(\d+)", path.read_text(), re.M):
            waits[path.name] = int(stop.group(1))
    for name, wait in waits.items():
        if wait < 2 * longest:
            yield f"{name}: is killed after {wait} s, and takes up to {longest} to drain"
    texts = [*DEPLOY.glob("**/*.yaml"), *DEPLOY.glob("**/*.service"), *(ROOT / "docs").glob("**/*.md")]
    for path in texts:
        for said in re.findall(r"(?:in hand \(|draining takes at most |takes up to |it takes )(\d+) (?:s\b|at most)", path.read_text()):
            if int(said) != longest:
                yield f"{path.relative_to(ROOT)}: says that draining takes {said} s, and it is {longest}"


# --- reasons ----------------------------------------------------------------------------------------------------------


def reasons(_cluster):
    """A runbook names no reason that nothing ever gives; and those of health are the code's own."""
    health = (ROOT / "telemetry/src/health.rs").read_text().split("#[cfg(test)]")[0]
    given = set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"\.to_owned\(\)', health)) | set(re.findall(r'format!\("([a-z-]+) \{\}', health))
    told = re.search(r"Reasons\s+are: ([^.]*)\.", page("METRICS.md")).group(1)
    if given != (listed := {name.split()[0] for name in re.findall(r"`([^`]*)`", told)}):
        yield f"docs/METRICS.md lists the reasons {sorted(listed)}, and telemetry/src/health.rs gives {sorted(given)}"
    known = given | words("runbooks/reasons.md") | words("METRICS.md") | words("OPERATIONS.md")
    for path in sorted((ROOT / "docs/runbooks").glob("*.md")):
        for name in words(path.relative_to(ROOT / "docs")) - known:
            if not name.startswith("rabbitmq-"):
                yield f"{path.name}: names `{name}`, which neither METRICS.md, OPERATIONS.md nor reasons.md has"


def words(name):
    """What stands in backticks and is of the form of a reason."""
    return {found.split()[0].rstrip(":") for found in re.findall(r"`([a-z]+(?:-[a-z]+)+\b[^`\n]*)`", page(name))}


def main():
    cluster, folder = Cluster(sys.argv[1]), Path(sys.argv[2])
    wrong = [line for check in (queues, ports, connections, compose, collector, grafana, systemd, broker_versions, draining, reasons) for line in check(cluster)]
    wrong += secrets(cluster, folder)
    for line in wrong:
        print(f"deploy: agreement: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
