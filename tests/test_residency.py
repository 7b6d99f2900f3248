"""What settings alone can tell of where data would be; what buckets say is tried on a real server (test_s3_denied)."""

from __future__ import annotations

from typing import Any

import pytest
from verger.errors import ResidencyError, SettingsError
from verger.residency import EU, Place, Policy, known
from verger.settings import Settings

from tests.support import one_line

KEY = "arn:aws:kms:{}:111122223333:key/abc"
ECR = "111122223333.dkr.ecr.{}.amazonaws.com/verger:1"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


def look(**given: Any) -> list[Place]:
    settings = Settings.load(**{"images": "s3://fruits/images", "region": "eu-west-3", **given})
    return known(settings, Policy.of(settings))


def test_the_eu_is_a_list_and_not_a_prefix() -> None:
    assert all(region.startswith("eu-") for region in EU)
    for region in ("eu-west-2", "eu-central-2", "us-east-1"):
        with pytest.raises(ResidencyError) as error:
            look(region=region)
        one_line(error, f"--region {region}", "residency eu allows eu-central-1", "use a place there")
        assert error.value.exit_code == 3


@pytest.mark.parametrize("region", EU)
def test_each_region_of_the_eu_is_admitted(region: str) -> None:
    assert [place.region for place in look(region=region, kms_key=KEY.format(region))] == [region, region]


def test_a_named_policy_is_another_list() -> None:
    given = {"policies": "uk=eu-west-2", "residency": "uk"}
    assert [place.region for place in look(region="eu-west-2", **given)] == ["eu-west-2"]
    with pytest.raises(ResidencyError, match="residency uk allows eu-west-2;"):
        look(region="eu-west-3", **given)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"residency": "uk"}, ("--residency uk", "no such policy", "--policies")),
        ({"policies": "eu=us-east-1"}, ("--policies eu=...", "can't be another")),
        ({"policies": "uk=london"}, ("--policies",)),
        ({"policies": "uk"}, ("--policies",)),
    ],
)
def test_a_policy_that_is_none_is_one_line(given: dict[str, Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as error:
        look(**given)
    one_line(error, *parts)


def test_policies_are_the_same_by_file_environment_and_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "v.yaml").write_text("policies: {uk: [eu-west-2], all: [eu-west-2, eu-west-3]}")
    text = "uk=eu-west-2; all=eu-west-2,eu-west-3"
    by_file, by_line = Settings.load(config=tmp_path / "v.yaml"), Settings.load(policies=text)
    monkeypatch.setenv("VERGER_POLICIES", text)
    expected = {"uk": ("eu-west-2",), "all": ("eu-west-2", "eu-west-3")}
    assert by_file.policies == by_line.policies == Settings.load().policies == expected


def test_a_server_of_ones_own_must_be_attested_and_encrypted() -> None:
    with pytest.raises(ResidencyError, match=r"nobody can tell where this server is; .* --attest-region"):
        look(endpoint="https://s3.local")
    with pytest.raises(SettingsError, match="not encrypted; use https, or --allow-http"):
        look(endpoint="http://s3.local", attest_region="eu-west-3")
    (place,) = look(endpoint="https://s3.local", attest_region="eu-west-3")
    assert (place.region, place.known_by) == ("eu-west-3", "--attest-region")
    with pytest.raises(ResidencyError, match=r"in us-east-1 \(--attest-region\)"):
        look(endpoint="https://s3.local", attest_region="us-east-1")


def test_an_attested_region_is_the_region_that_is_asked_by() -> None:
    settings = Settings.load(endpoint="https://s3.local", attest_region="eu-west-1")
    assert settings.region == "eu-west-1"
    assert Settings.load(attest_region="eu-west-1", region="eu-west-3").region == "eu-west-3"


def test_a_key_is_in_the_policy_and_in_the_buckets_region() -> None:
    with pytest.raises(ResidencyError, match=r"--kms-key .* in eu-west-2 \(its ARN\)"):
        look(kms_key=KEY.format("eu-west-2"))
    with pytest.raises(SettingsError, match="S3 needs a key of the bucket's own region"):
        look(kms_key=KEY.format("eu-west-1"))


@pytest.mark.parametrize("key", ["arn:aws:kms:eu-west-3:111122223333:alias/mine", "mine", "arn:aws:s3:::b"])
def test_a_key_is_named_so_that_what_was_written_can_be_checked(key: str) -> None:
    with pytest.raises(SettingsError, match="--kms-key"):
        look(kms_key=key)


def test_an_image_of_ecr_is_in_its_region_and_another_registry_holds_no_data() -> None:
    with pytest.raises(ResidencyError, match=r"--container-image .* in us-east-1 \(its registry's name\)"):
        look(container_image=ECR.format("us-east-1"))
    assert [place.name for place in look(container_image=ECR.format("eu-west-3"))] == ["--region", "--container-image"]
    assert [place.name for place in look(container_image="docker.io/verger:1")] == ["--region"]


def test_a_run_on_this_machine_alone_asks_for_no_region() -> None:
    settings = Settings.load(images="/data", store="/store", region="us-east-1")
    assert [(place.where, place.region) for place in known(settings, Policy.of(settings))] == [
        ("/data", None),
        ("/store", None),
    ]
