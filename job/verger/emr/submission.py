"""A run on its way to EMR: checked as far as can be, and as a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from verger.aws import Aws
from verger.cost import lines
from verger.emr import image, limits, request, template
from verger.emr.checks import Checks, cluster_of, with_log_group
from verger.emr.options import Options
from verger.emr.pods import Upload, placed
from verger.emr.service import Emr, VirtualCluster
from verger.errors import SettingsError, VergerError
from verger.estimate import estimate
from verger.fleet import Fleet
from verger.listing import weighed
from verger.prices import Prices
from verger.residency import Policy
from verger.settings import Settings

NOWHERE = "0"  # an id in place of a virtual cluster's, while nobody has been asked for it


@dataclass(frozen=True)
class Submission:
    """`notes` is what the user has to know, a line each: a policy that is not the default, and what was not checked."""

    emr: Emr
    cluster: VirtualCluster
    request: dict[str, Any]
    uploads: list[Upload]
    checks: Checks

    @property
    def notes(self) -> list[str]:
        return self.checks.notes

    def start(self) -> str:
        """Put the pod templates where EMR reads them, and start the job run: its id."""
        for upload in self.uploads:
            upload.put(self.emr.aws)
        return self.emr.start(self.request)

    def estimated(self) -> list[str]:
        """What the run would cost if all its images were new, a line each."""
        settings, options = self.checks.settings, self.checks.options
        fleet = Fleet.of(request.sizes(options) | options.spark_conf)
        if settings.manifest is not None:
            return ["no estimate of cost: what --manifest lists is not counted here; see `verger cost`"]
        try:
            count, size = weighed(settings.location("images"), self.emr.aws)
            cost = estimate(count, size, fleet, Prices.load(settings.prices), settings.region)
        except VergerError as error:
            return [f"no estimate of cost: {error}"]
        return [f"{count:,} images, {size:,} bytes, if all are new:", *lines(cost.plain())]


def token(options: Options) -> str:
    """Each command is a run of its own, as tomorrow's is of today's: unless its user says that it is the same one.

    EMR gives the job run that it has already for a token that it knows, whatever has come of it.
    """
    return options.client_token or uuid4().hex


def submission(settings: Settings, options: Options) -> Submission:
    """The request for a run. Raises SettingsError, ResidencyError or VergerError before EMR is asked for anything."""
    for name in request.PLACES:
        settings.location(name)
    chosen = token(options)
    checks, policy, uploads = _checked_alone(settings, options)
    limits.admit("StartJobRun", request.start(settings, checks.options, NOWHERE, chosen))
    checks.identify()
    emr = Emr(checks.aws)
    cluster = cluster_of(emr, options, policy)
    checks.asked(policy, cluster)
    return Submission(emr, cluster, request.start(settings, checks.options, cluster.id, chosen), uploads, checks)


def from_template(settings: Settings, options: Options) -> Submission:
    """The same for a run that a job template describes: what comes of both is checked."""
    assert options.template is not None
    emr, chosen = Emr(Aws.of(settings)), token(options)
    limits.admit("StartJobRun", request.start_from_template({}, options, NOWHERE, chosen))
    Checks(settings, options, emr.aws).identify()
    data = emr.template(options.template)
    given = template.values(data, settings, options)
    checks, policy, _ = _checked_alone(*template.described(data, given, settings, options))
    cluster = cluster_of(emr, options, policy)
    checks.asked(policy, cluster)
    started = request.start_from_template(given, options, cluster.id, chosen)
    return Submission(emr, cluster, limits.admit("StartJobRun", started), [], checks)


def new_template(settings: Settings, options: Options) -> tuple[Emr, dict[str, Any], list[Upload], list[str]]:
    """The request for a job template: like a run's, but for its image, which must stay the same, and its logs."""
    if options.log_uri is None and options.log_group is None:
        raise SettingsError("--log-uri is missing; a template says where logs go: give it, or --log-group")
    checks, policy, uploads = _checked_alone(settings, options)
    image.pinned(settings)
    made = limits.admit("CreateJobTemplate", template.create(settings, checks.options, token(options)))
    checks.identify()
    emr = Emr(checks.aws)
    checks.asked(policy, None if options.virtual_cluster is None else cluster_of(emr, options, policy))
    return emr, made, uploads, checks.notes


def _checked_alone(settings: Settings, options: Options) -> tuple[Checks, Policy, list[Upload]]:
    """What needs nobody to be asked; the options with what they name as EMR takes it."""
    aws = Aws.of(settings)
    named = with_log_group(options, settings, Policy.of(settings))
    ready, uploads = placed(named)
    checks = Checks(settings, ready, aws)
    return checks, checks.alone(), uploads
