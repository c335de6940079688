"""Strings that look like a secret: which are found in the code of a version, and which are left alone."""

from __future__ import annotations

import pytest

from millstream.version_code.secret_strings import suspects

RANDOM = "Zk3Vq9mB1xL7sT5yWc2HdN8fRg4JpU6aQe0KxV3d"


@pytest.mark.parametrize(
    "line",
    [
        'API_KEY = "abcdef123456"',
        'apikey="abcdef123"',
        'connect(password="hunter22")',
        'settings = {"auth_token": "abcdef123456"}',
        'settings = {"sasl.password": "hunter22"}',
        'self.secret: str = "hunter22"',
        'PASSWORD2 = "hunter22"',
        'ACCESS_TOKEN = API_TOKEN = "abcdef123456"',
        'bearer_token = "abcdef123456"',
        'aws_secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"',
        # Forms.
        'URL = "postgres://me:hunter22@db/x"',
        'URL = f"postgres://me:hunter22@{host}/x"',
        'KEY = "AKIA' + "ABCDEFGHIJKLMNOP" + '"',
        'PEM = "-----BEGIN RSA PRIVATE KEY-----"',
        'PEM = b"-----BEGIN PRIVATE KEY-----"',
        f'X = "{RANDOM}"',
        f'X = "prefix_{RANDOM}"',
        # Where a name is given a value in other ways.
        'SECRET = b"hunter22"',
        'def f(a, password="hunter22"): pass',
        'def f(a, /, b, *, user="me", password="hunter22"): pass',
        'f = lambda secret="hunter22": 0',
        'os.environ["DB_PASSWORD"] = "hunter22"',
        'PASSWORD = "hunter" + "22"',
        'connect(secret="hun" + "ter" + "22")',
        'PASSWORDS = ["hunter22"]',
        'SECRETS = ("a", b"hunter22")',
        # In a text.
        'CONNECTION = "user=me password=hunter22 host=x"',
        "CONNECTION = \"Module required password='hunter22';\"",
        'CONNECTION = b"host=x;pwd=hunter22"',
        'PASSWORD = "correct horse battery"',
        'connect(key_passphrase="correct horse battery")',
    ],
)
def test_a_string_that_looks_like_a_secret_is_found(line: str) -> None:
    assert [each.line for each in suspects(f"\n{line}\n")] == [2]


@pytest.mark.parametrize(
    "line",
    [
        'TOKENS = "a b c"',
        'password = os.environ["DB_PASSWORD"]',
        'PASSWORD = os.environ.get("PASSWORD", "changeme")',
        'PASSWORD = os.environ["DB_" + "PASSWORD"]',
        'def f(password=None, *, secret, token="hunter22"): pass',
        'HASH = "d41d8cd98f00b204e9800998ecf8427ed41d8cd98f00b204"',
        'URL = "https://example.org/a/long/path/to/something/else"',
        'token = ""',
        "def broken(:",
        # A token is a word.
        'TOKEN = "<unknown>"',
        'PAD_TOKEN = "padding"',
        'stop_token = "<|endoftext|>"',
        'words = BagOfWords(token_pattern="abcdef")',
        'TOKEN_PATTERN = r"[a-z]+"',
        # Contracts, columns, topics.
        'stream = Stream(name="fraud", label="is_fraud", features={"amount": "number"})',
        'features = {"password": "string", "api_key": "category", "secret": "vector"}',
        'features = {"session_token": "category"}',
        'label = "password_reset"',
        'SECRETS = ["password", "api_key", "access_token"]',
        'TOPIC = "fraud-Features_EU_production-Replay2024_v12"',
        'COLUMN = "customer_lifetime_value_90d_EUR_rolling"',
        'COLUMN = "tx_7d_avg_eu_3ds_is_new_v2_by_card_id"',
        # What is said about a secret.
        'API_KEY_HEADER = "X-Api-Key"',
        'SECRET_NAME = "projects/x/secrets/y"',
        'PASSWORD_FILE = "/run/secrets/db"',
        'PASSWORD_ENV = "DB_LOGIN"',
        'credentials = "credentials.json"',
        'API_KEY = "<your key>"',
        'SECRET = "a sentence about secrets"',
        '"""Set password=<yours>, or password=%(password)s, or give password=os.environ[...]."""',
        'f"password={password}"',
        # Alphabets.
        'LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"',
        'LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"',
        'LETTERS = "aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOpPqQrRsStT0123"',
    ],
)
def test_what_is_no_secret_is_left_alone(line: str) -> None:
    assert list(suspects(line)) == []


def test_each_line_is_named_once_and_the_string_itself_never() -> None:
    found = list(suspects(f'A = 1\nPASSWORDS = ["hunter22",\n  "hunter23"]\nSECRET = "{RANDOM}"\n'))
    assert [each.line for each in found] == [2, 3, 4]
    assert "hunter" not in str(found)
    assert RANDOM not in str(found)
