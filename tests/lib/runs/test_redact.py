# SPDX-License-Identifier: MIT
"""Planted secrets must go, harmless look-alikes must stay."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.runs.redact import (
    REDACTED,
    is_secret_name,
    redact,
    redact_command,
    redact_diff,
    redact_tree,
)

HEX40 = "0123456789abcdef0123456789abcdef01234567"


# Keys are put together here, so that no scanner of repositories takes them for real ones.
PLANTED = {
    "W&B in the environment": (f"WANDB_API_KEY={HEX40}", HEX40),
    "W&B exported": (f"export WANDB_API_KEY='{HEX40}'", HEX40),
    "W&B login": (f"wandb login {HEX40}", HEX40),
    "W&B in prose": (f"using the api key {HEX40} from the file", HEX40),
    "W&B self-hosted": (f"local-{HEX40}", HEX40),
    "netrc line": (f"machine api.wandb.ai login user password {HEX40}", HEX40),
    "netrc block": (f"machine api.wandb.ai\n  login user\n  password {HEX40}\n", HEX40),
    "flag": ("train.py --api-key hunter2 --lr 1", "hunter2"),
    "flag with equals": ("train.py --api-key=hunter2 --lr 1", "hunter2"),
    "flag with prefix": ("--wandb-api-key hunter2", "hunter2"),
    "flag in quotes": ("--password 'two words' next", "two words"),
    "flag, quote left open": ("--password 'two", "two"),
    "lower case": ("password: correcthorse", "correcthorse"),
    "camel case": ("dbPassword=correcthorse", "correcthorse"),
    "odd characters": ('MY_PASSWORD=a,b;c&d"e', 'b;c&d"e'),
    "JSON": ('{"api_key": "hunter2", "lr": 0.1}', "hunter2"),
    "JSON, escaped quote": ('{"token": "hun\\"ter2"}', "ter2"),
    "Python": ("{'hf_token': 'hunter2'}", "hunter2"),
    "YAML": ("tracker:\n  client_secret: hunter2\n", "hunter2"),
    "header": ("Authorization: Bearer abcdef.ghi-jkl", "abcdef.ghi-jkl"),
    "AWS": ("AWS_SECRET_ACCESS_KEY=wJal/rXUtn", "wJal/rXUtn"),
    "AWS id": ("id " + "AKIA" + "IOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    "Hugging Face": ("hf" + "_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567", "aBcDeFgH"),
    "OpenAI": ("sk" + "-proj-" + "a1B2c3D4e5F6g7H8i9J0k1L2", "a1B2c3D4"),
    "GitHub": ("ghp" + "_" + "a1B2" * 9, "a1B2"),
    "GitLab": ("glpat" + "-" + "a1B2c3D4e5F6g7H8i9J0", "a1B2c3"),
    "Slack": ("xoxb" + "-123456789012-abcdefghij", "abcdefghij"),
    "JSON web token": ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", "SflKxwRJSMeK"),
    "URL": ("https://me:s3cret@host:8080/path", "s3cret"),
    "URL, token alone": ("https://s3cret@github.com/x/y.git", "s3cret"),
    "URL, @ in the password": ("postgresql://me:s3@cret@host/db", "cret"),
    "URL query": ("http://host/?token=s3cret&page=2", "s3cret"),
    "Python, subscript": ('os.environ["WANDB_API_KEY"]="hunter2"', "hunter2"),
    "Python, spaces": ('os.environ["WANDB_API_KEY"] = "hunter2"', "hunter2"),
    "Python, default": ('os.environ.setdefault("HF_TOKEN", "hunter2")', "hunter2"),
    "Python, annotated": ('passwd: str = "hunter2"', "hunter2"),
    "Python, annotated optional": ("api_key: str | None = 'hunter2'", "hunter2"),
    "Python, pwd": ('pwd = "hunter2"', "hunter2"),
    "Python, bytes": ('password = b"hunter2"', "hunter2"),
    "Python, triple quotes": ('password = """hunter2"""', "hunter2"),
    "Python, escaped quote": ("password = 'hun\\'ter2'", "ter2"),
    "Python, next line": ('secret = (\n    "hunter2")', "hunter2"),
    "Python, argparse": ('add_argument("--password", help="x", default="hunter2")', "hunter2"),
    "Python, login": (f'wandb.login(key="{HEX40}")', HEX40),
    "Python, login by position": ("login('hunter2')", "hunter2"),
    "C": ('#define API_KEY "hunter2"', "hunter2"),
    "XML attributes": ('<add key="ApiKey" value="hunter2"/>', "hunter2"),
    "YAML name and value": ("- name: DB_PASSWORD\n  value: hunter2\n", "hunter2"),
    "curl": ("curl -s -u me:hunter2 https://host", "hunter2"),
    "Go": ('password := "hunter2"', "hunter2"),
    "Make": ("API_TOKEN ?= hunter2", "hunter2"),
    "YAML block": ("password: |\n  hunter2\nnext: 1", "hunter2"),
    "XML": ("<dbPassword>hunter2</dbPassword>", "hunter2"),
    "DB_PASS": ("DB_PASS=hunter2", "hunter2"),
    "MYSQL_PWD": ("MYSQL_PWD=hunter2", "hunter2"),
    "PGPASSWORD": ("PGPASSWORD=hunter2 psql", "hunter2"),
    "SIGNING_KEY": ("SIGNING_KEY=hunter2", "hunter2"),
    "GITHUB_PAT": ("GITHUB_PAT=hunter2", "hunter2"),
    "npm": ("npm" + "_" + "a1B2c3D4e5F6" * 3, "a1B2c3"),
    "Stripe": ("sk" + "_live_" + "a1B2c3D4e5F6g7H8i9J0k1L2", "a1B2c3"),
    "Databricks": ("dapi" + HEX40[:32], HEX40[:32]),
    "SendGrid": ("SG" + "." + "a1B2c3D4e5F6g7H8i9J0kl" + "." + "x" * 43, "a1B2c3"),
    "Telegram": ("123456789" + ":AA" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q", "a1B2c3"),
    "private key, taken out": ("------BEGIN PRIVATE KEY-----\n-MIIE\n-abc\n------END", "abc"),
    "private key": ("-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\nabc\n-----END", "MIIE"),
}

HARMLESS = [
    f"commit {HEX40}",
    f"index {HEX40[:10]}..{HEX40[10:20]} 100644",
    f"science_hash: {HEX40[:16]}",
    f"fingerprint: {HEX40}{HEX40[:24]}",
    "run_id: 60ffadce3943",
    "tiktoken: 0.14.0",
    "perf/tokens_per_s: 3600.5",
    "tokens: 1024",
    "the token expired yesterday, the password was wrong",
    "EOS_TOKEN=<|endoftext|>",
    "eos_token: 50256",
    "api_key: null",
    'CONFIG_WANDB_API_KEY=""',
    "WANDB_API_KEY=$WANDB_API_KEY",
    "--api-key <key>",
    "https://huggingface.co/datasets/ylecun/mnist",
    "ssh://git@github.com/x/y.git",
    "git@github.com:x/y.git",
    "me@example.org wrote http://host/a@b",
    "sqlite:///outputs/mlflow.db",
    "disk-cache-of-the-longest-name-2",
    "sk-learn-pipeline-of-the-longest-name",
    "python -m lenet5.train --learning-rate 3e-4 --optimizer adamw",
    "monkey: banana, keyboard: qwerty, sort_key=name",
    "token:\n  kind: byte",
    "PWD=/home/me/tree",
    "pwd=$(pwd)",
    'token="${TOKEN:-}"',
    "if token == 'x'",
    "forward_pass: 3 ms",
    "first pass: 3 s, second pass: 4 s",
    "a pass over the data, 12 passes: fine",
    "password: str",
    "usage: x --password <password> --user <user>",
    "monkey_patch, dapi, npm_config_cache, sk_live_",
    "max_tokens=512, num_tokens: 7",
]


@pytest.mark.parametrize(("text", "secret"), PLANTED.values(), ids=PLANTED)
def test_a_planted_secret_goes(text, secret):
    clean = redact(text)
    assert secret not in clean
    assert REDACTED in clean


@pytest.mark.parametrize("text", HARMLESS)
def test_the_harmless_stays(text):
    assert redact(text) == text


def test_what_surrounds_a_secret_stays():
    assert redact("a --api-key hunter2 --lr 1") == f"a --api-key {REDACTED} --lr 1"
    assert redact("https://me:pw@host/path?x=1") == f"https://{REDACTED}@host/path?x=1"
    assert redact('{"token": "x1", "lr": 1}') == f'{{"token": "{REDACTED}", "lr": 1}}'


@pytest.mark.parametrize("text", [text for text, _ in PLANTED.values()])
def test_twice_is_once(text):
    assert redact(redact(text)) == redact(text)


def test_the_value_of_a_secret_variable_goes_wherever_it_stands(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", HEX40)
    assert redact(f"no hint {HEX40} here") == f"no hint {REDACTED} here"
    monkeypatch.delenv("WANDB_API_KEY")
    assert redact(f"no hint {HEX40} here") == f"no hint {HEX40} here"


CODE_THAT_STAYS = [
    "+    token = line.split()",
    "+def f(token: str) -> None:",
    "+TOKEN = words[0]",
    '+    token = "\\n"',
    '+    token = "a"',
    '+    password = getpass("Password: ")',
    '+    key = os.environ["API_KEY"]',
    '+    token = os.environ.get("HF_TOKEN", "")',
    '+    os.environ["API_KEY"]=value',
    '+NAMES = ("api_key", "token", "password")',
    '+flags.add_argument("--token", help="a token")',
    '+    tokenizer = Tokenizer(vocab="gpt2")',
    "+    self.token: Tensor = torch.zeros(3)",
    f'+SHA256 = "{HEX40}"',
]


@pytest.mark.parametrize("line", CODE_THAT_STAYS)
def test_code_without_a_secret_stays(line):
    assert redact(line, code=True) == line


@pytest.mark.parametrize(
    "line",
    [
        '+    api_key = "hunter2"',
        "+HF_TOKEN=hunter2",
        f"+password='{HEX40}'",
        '+    token = "hunter2"',
        '+    connect(password="hunter2", user="me")',
        *(f"+{text}" for text, _ in PLANTED.values() if text.startswith(("os.", "passwd", "pwd"))),
    ],
)
def test_literals_in_code_go(line):
    assert "hunter2" not in redact(line, code=True)
    assert REDACTED in redact(line, code=True)


DIFF = """diff --git a/{name} b/{name}
index {index} 100644
--- a/{name}
+++ b/{name}
@@ -1 +1 @@ token: str
-{line}
+{line}
"""


@pytest.mark.parametrize("name", ["db.yaml", "x/.env", "Makefile", "run.sh", "my file.yml"])
def test_an_unquoted_password_in_the_diff_of_a_settings_file_goes(name):
    diff = DIFF.format(name="a.py", index=HEX40, line="token = line.split()")
    secret = DIFF.format(name=name, index=HEX40, line="  password: hunter2").replace(": str", "")
    clean = redact_diff(diff + secret + diff)
    assert "hunter2" not in clean
    assert clean == diff + secret.replace("hunter2", REDACTED) + diff


@pytest.mark.parametrize("secret", ["x9-z", "hunter2", "two words", 'a,b;c&d"e', "0123456789"])
def test_the_value_of_a_secret_variable_goes_however_short(monkeypatch, secret):
    monkeypatch.setenv("DB_PASS", secret)
    assert redact(f"at {secret}, no hint") == f"at {REDACTED}, no hint"
    assert redact_tree({"tags": [secret]}) == {"tags": [REDACTED]}


@pytest.mark.parametrize("value", ["abc", "true", "password", "/tmp"])
def test_a_value_that_is_no_secret_hides_nothing(monkeypatch, value):
    monkeypatch.setenv("DB_PASS", value)
    assert redact(f"xabcx true /tmp no password here, {value}.") == (
        f"xabcx true /tmp no password here, {value}."
    )


def test_a_short_secret_does_not_cut_words(monkeypatch):
    monkeypatch.setenv("DB_PASS", "test")
    assert redact("the latest test/loss attests") == f"the latest {REDACTED}/loss attests"


def test_command_line():
    command = ["train.py", "--token", "a b", "--name", "it's", "--password=x\ny", "--seed", "1"]
    assert redact_command(command) == (
        "train.py --token '[redacted]' --name 'it'\"'\"'s' '--password=[redacted]' --seed 1"
    )


def test_tree():
    tree = {
        "api_key": "abc",
        "nested": [{"HF_TOKEN": "abc", "lr": 0.1}, "https://u:p@h/"],
        "token": 7,
        "credentials": {"user": "me", "password": "abc"},
        "commit": HEX40,
        "secret": "",
    }
    assert redact_tree(tree) == {
        "api_key": REDACTED,
        "nested": [{"HF_TOKEN": REDACTED, "lr": 0.1}, f"https://{REDACTED}@h/"],
        "token": 7,
        "credentials": {"user": "me", "password": REDACTED},
        "commit": HEX40,
        "secret": "",
    }


@pytest.mark.parametrize(
    "name",
    ["WANDB_API_KEY", "hf-token", "dbPassword", "TOKEN", "a.secret", "DB_PASS", "PGPASSWORD"],
)
def test_secret_names(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["tiktoken", "tokens", "pad_token", "monkey", "sort_key", "lr", "PWD", "forward_pass"]
)
def test_harmless_names(name):
    assert not is_secret_name(name)


PIECES = [
    "token",
    "--api-key",
    "password ",
    "=",
    ": ",
    "https://",
    "u:p@",
    "'",
    '"',
    " ",
    "\n",
    "x1",
    *[
        ": str = ",
        '"""',
        "|",
        "(",
        "b",
        "setdefault(",
        "<password>",
        "</",
        "pwd",
        "SECRET",
        "+",
        "$",
    ],
]


MORE_PIECES = [
    "Bearer ",
    "login ",
    "login(",
    "curl -u ",
    "name: ",
    "value: ",
    " value=",
    "#define ",
]
MORE_PIECES += ["'--token', ", "default=", HEX40, ",", "]", "\\"]


@given(
    st.lists(st.sampled_from([*PIECES, *MORE_PIECES])).map("".join),
    st.booleans(),
)
def test_any_text_is_settled_after_once(text, code):
    assert redact(redact(text, code=code), code=code) == redact(text, code=code)


@pytest.mark.parametrize(
    "piece",
    [
        "token=",
        "a-",
        "://x@",
        "--a",
        "login x ",
        "-----BEGIN ",
        '"',
        "pwd: ",
        "token: a ",
        'get("',
        "<password>",
        "token: |\n ",
        'token="""',
        "api_key (",
        "x_",
        "SG.",
        "-" * 7,
        "curl ",
        "login(x",
        "'--token',",
        "#define ",
        "name: ",
    ],
)
def test_hostile_text_takes_no_time(piece):
    begin = time.process_time()
    redact(piece * (100_000 // len(piece)))
    assert time.process_time() - begin < 2.0
