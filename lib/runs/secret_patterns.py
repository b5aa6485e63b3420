# SPDX-License-Identifier: MIT
"""What secrets look like: the names that precede them, and their own shapes.

The shapes are the prefixes that services print in their documentation so that leaked keys can be
found. A new one is a line in `SHAPES` and a line in tests/lib/runs/test_redact.py.
"""

import re

# Where a word begins within a name: after no letter or digit, or at a capital in camelCase.
BEGIN = r"(?:(?<![A-Za-z0-9])|(?<=[a-z])(?=[A-Z]))"
_KEYS = "secret|private|auth|account|signing|encryption|master|deploy|license|subscription"
# eos_token and the like are vocabulary; a forward pass is not a password.
_TOKEN = r"(?<!(?:eos|bos|eot|pad|unk|sep|cls|end)[_-])(?<!mask[_-])token"
_PASS = r"(?<=[a-z0-9][_-])(?<!forward_)(?<!backward_)(?<!first_)(?<!second_)(?:pass|pwd|creds)"
# The end of a name that holds a secret: WANDB_API_KEY, hf-token, dbPassword, PGPASSWORD, DB_PASS.
WORD = (
    rf"(?:{BEGIN}(?i:api[_-]?keys?|access[_-]?key(?:[_-]?id)?|(?:{_KEYS})[_-]?key|secret"
    rf"|credentials?|authorization|{_TOKEN})"
    rf"|(?i:passw(?:or)?d|passphrase|{_PASS})"
    r"|(?<=[A-Z]_)PAT|(?<![A-Za-z0-9_$])pwd)"  # but PWD is the current directory
)

# Where none of these is in a line, in lower case, or in the lines before, there is no such name.
# Looking for them first makes redacting a large diff several times faster.
HINT = re.compile("key|secret|token|pass|pwd|cred|authorization|_pat|login|bearer|curl")
REACH = 8  # lines from a name to its value

STRING = (
    r"""[rbufRBUF]{0,2}(?:\"{3}[\s\S]{0,500}?\"{3}|'{3}[\s\S]{0,500}?'{3}"""
    r"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
)
_VALUE = rf"""(?P<value>{STRING}|\S*[^\s"',;)\]}}])"""
_EQUALS = r"[ \t]*(?:[?:+]?=(?![=~])>?|:(?!=))[ \t]*"

# Each finds `name`, `sep` and the `value` to be replaced.
NAMED = [
    # passwd: str = "VALUE"
    re.compile(
        rf"(?P<name>{WORD})(?P<sep>[ \t]*:[ \t]*[A-Za-z_][\w.\[\], |]{{0,60}}=[ \t]*)"
        rf"(?P<value>{STRING})"
    ),
    # os.environ.setdefault("HF_TOKEN", "VALUE")
    re.compile(
        rf"(?P<name>\b(?:setdefault|setenv|putenv|getenv|get)\(\s*[\"'][\w.-]{{0,60}}{WORD}[\"'])"
        rf"(?P<sep>\s*,\s*)(?P<value>{STRING})"
    ),
    # parser.add_argument("--password", default="VALUE")
    re.compile(
        rf"(?P<name>[\"']--?[\w.-]{{0,60}}{WORD}[\"'])"
        rf"(?P<sep>\s*,[^\n]{{0,80}}?\bdefault\s*=\s*)(?P<value>{STRING})"
    ),
    # wandb.login(key="VALUE")
    re.compile(rf"(?P<name>\blogin\(\s*(?:\w{{1,20}}\s*=)?)(?P<sep>\s*)(?P<value>{STRING})"),
    # #define API_KEY "VALUE"
    re.compile(rf"(?P<name>#[ \t]*define[ \t]+\w{{0,60}}{WORD})(?P<sep>[ \t]+)(?P<value>{STRING})"),
    # <add key="ApiKey" value="VALUE"/>
    re.compile(
        rf"(?P<name>[\"'][\w.-]{{0,60}}{WORD}[\"'])(?P<sep>\s+value\s*=\s*)(?P<value>{STRING})"
    ),
    # name: DB_PASSWORD and value: VALUE on the next line, in YAML
    re.compile(
        rf"(?P<name>\bname:[ \t]*[\"']?[\w.-]{{0,60}}{WORD}[\"']?)"
        rf"(?P<sep>[ \t]*\n[+-]?[ \t]*value:[ \t]*){_VALUE}"
    ),
    # curl --user NAME:VALUE
    re.compile(
        rf"(?P<name>\bcurl\b[^\n]{{0,200}}?\s(?:-u|--user))(?P<sep>[ =][^\s:]{{1,60}}:){_VALUE}"
    ),
    # password: | and VALUE on the next line, in YAML
    re.compile(
        rf"(?P<name>{WORD}[\"']?)(?P<sep>[ \t]*:[ \t]*[|>][+-]?[ \t]*\n[+-]?[ \t]+)(?P<value>.+)"
    ),
    # API_KEY=VALUE, "api_key": "VALUE", environ["API_KEY"] = ("VALUE"), Authorization: Bearer VALUE
    re.compile(
        rf"(?P<name>{WORD}[\"']?\]?)"
        rf"(?P<sep>{_EQUALS}(?:\([\s+-]*)?(?:(?i:bearer|basic|token)[ \t]+)?){_VALUE}"
    ),
    # <password>VALUE</password>
    re.compile(rf"(?P<name><[\w:.-]{{0,60}}{WORD}>)(?P<sep>\s*)(?P<value>[^<\n]+)(?=</)"),
    # --api-key VALUE
    re.compile(rf"(?P<name>(?<![^\s'\"])--?[\w.-]*{WORD})(?P<sep>[ \t]+){_VALUE}"),
    # a line of .netrc: login NAME password VALUE
    re.compile(rf"(?P<name>\blogin\s+\S+\s+password)(?P<sep>\s+){_VALUE}"),
    # wandb login VALUE; the key … VALUE
    re.compile(
        rf"(?P<name>\bwandb\s+login|{WORD}|(?i:\bapi key|\bbearer))"
        r"(?P<sep>[^\w\n]{1,4})(?P<value>[\w.~+/-]{32,})"
    ),
]

# References, placeholders, types and empty values are not secrets.
HARMLESS = re.compile(
    r"""["']?(?:|~|[yn|>]|(?i:null|none|true|false)|(?:str|bytes|string|int|bool)
    |\[redacted\]?|<[^<>]*>|\$\{?[A-Z_][A-Z0-9_]*\}?|\$[({].*|\{[^{}]*\}|\*+)
    ["']?[,;)\]}]*""",
    re.VERBOSE,
)

URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{1,20}://)(?!git@)[^\s/?#'\"]+@")
_SHAPES = {
    "AWS": r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
    "Azure signature": r"sig=[A-Za-z0-9%/+]{40,}={0,2}",
    "Databricks": r"dapi[0-9a-f]{32}(?:-\d)?\b",
    "DigitalOcean": r"do[opr]_v1_[0-9a-f]{64}",
    "Docker": r"dckr_(?:pat|oat)_[\w-]{20,}",
    "GitHub": r"gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}",
    "GitLab": r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-[\w-]{16,}",
    "Google": r"AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}",
    "Grafana": r"gl(?:c|sa)_[A-Za-z0-9_=+/-]{32,}",
    "Groq": r"gsk_[A-Za-z0-9]{40,}",
    "HashiCorp": r"hv[sbr]\.[\w-]{20,}",
    "Hugging Face": r"(?:hf|api_org)_[A-Za-z0-9]{20,}",
    "JSON web token": r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}",
    "language models": r"sk-(?=[A-Za-z_-]*\d)[\w-]{20,}",
    "Mailchimp": r"[0-9a-f]{32}-us\d{1,2}\b",
    "npm": r"npm_[A-Za-z0-9]{30,}",
    "PyPI": r"pypi-[\w-]{40,}",
    "Replicate": r"r8_[A-Za-z0-9]{30,}",
    "SendGrid": r"SG\.[\w-]{16,32}\.[\w-]{16,64}",
    "Shopify": r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "Slack": r"xox[a-z]-[\w-]{10,}|xapp-[\w-]{20,}|hooks\.slack\.com/services/[\w/]{20,}",
    "Square": r"sq0(?:atp|csp|idp)-[\w-]{20,}",
    "Stripe": r"[rs]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/]{20,}",
    "Telegram": r"\d{8,10}:AA[\w-]{33}",
    "Twilio": r"SK[0-9a-f]{32}\b",
    "W&B": r"wandb_v1_\w{30,}|local-[0-9a-f]{40}\b",
}
_PRIVATE_KEY = (
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*"
    r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)?"
)
SHAPES = re.compile(rf"(?<![A-Za-z0-9_])(?:{'|'.join(_SHAPES.values())})|{_PRIVATE_KEY}")
