"""Which package on the index provides what a program imports.

Most packages provide a module of their own name, so that an import's first word is the answer. The
tables hold where it is not. `DOCUMENTED` is the Build API's own table, to the letter. `KNOWN` is
ours: names whose package is called otherwise, each with the package that the module's own
documentation tells to install. No list of all packages can stand in for it: any package may
provide any module, and of the dozens that provide `yaml` or `cv2` most are somebody's trap.
typeshed, which knows what each of its stubs is for, is the judge: a test holds every name of it
against the table, so that what is learnt there has to be learnt here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

DOCUMENTED: Mapping[str, str] = {
    "openai": "openai>=1.0",
    "langchain": "langchain",
    "anthropic": "anthropic",
    "requests": "requests",
    "stripe": "stripe",
    "boto3": "boto3",
    "fastapi": "fastapi[standard]",
    "pandas": "pandas",
    "numpy": "numpy",
}

KNOWN: Mapping[str, str] = {
    "Crypto": "pycryptodome",
    "Cryptodome": "pycryptodomex",
    "Jetson": "jetson.gpio",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyopenssl",
    "PIL": "pillow",
    "RPi": "rpi.gpio",
    "Xlib": "python-xlib",
    "_cffi_backend": "cffi",
    "_jsonnet": "jsonnet",
    "_yaml": "pyyaml",
    "agents": "openai-agents",
    "antlr4": "antlr4-python3-runtime",
    "attr": "attrs",
    "auth0": "auth0-python",
    "autogen": "ag2",
    "azure.ai.inference": "azure-ai-inference",
    "azure.ai.projects": "azure-ai-projects",
    "azure.keyvault.secrets": "azure-keyvault-secrets",
    "azure.search.documents": "azure-search-documents",
    "azure.storage.blob": "azure-storage-blob",
    "bs4": "beautifulsoup4",
    "bson": "pymongo",
    "bugbear": "flake8-bugbear",
    "compose": "docker-compose",
    "consolemenu": "console-menu",
    "corsheaders": "django-cors-headers",
    "cronlog": "python-crontab",
    "crontab": "python-crontab",
    "crontabs": "python-crontab",
    "cv2": "opencv-python-headless",
    "dateparser_data": "dateparser",
    "dateutil": "python-dateutil",
    "decouple": "python-decouple",
    "discord": "discord.py",
    "django_filters": "django-filter",
    "dns": "dnspython",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "engineio": "python-engineio",
    "ev": "pyev",
    "faiss": "faiss-cpu",
    "farmhash": "pyfarmhash",
    "fitz": "pymupdf",
    "fpdf": "fpdf2",
    "gi": "pygobject",
    "git": "gitpython",
    "github": "pygithub",
    "gitlab": "python-gitlab",
    "google.cloud.secretmanager": "google-cloud-secret-manager",
    "google.oauth2": "google-auth",
    "google.protobuf": "protobuf",
    "googleapiclient": "google-api-python-client",
    "graphql": "graphql-core",
    "grpc": "grpcio",
    "grpc_channelz": "grpcio-channelz",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
    "grpc_status": "grpcio-status",
    "grpc_tools": "grpcio-tools",
    "hydra": "hydra-core",
    "imblearn": "imbalanced-learn",
    "import_export": "django-import-export",
    "jack": "jack-client",
    "jenkins": "python-jenkins",
    "jks": "pyjks",
    "jose": "python-jose",
    "jwt": "pyjwt",
    "kafka": "kafka-python",
    "keycloak": "python-keycloak",
    "ldap": "python-ldap",
    "llama_cpp": "llama-cpp-python",
    "llama_index.core": "llama-index-core",
    "magic": "python-magic",
    "memcache": "python-memcached",
    "mpl_toolkits": "matplotlib",
    "multipart": "python-multipart",
    "mysql.connector": "mysql-connector-python",
    "nacl": "pynacl",
    "nmap": "python-nmap",
    "opentelemetry": "opentelemetry-api",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "paho": "paho-mqtt",
    "pep8ext_naming": "pep8-naming",
    "pkg_resources": "setuptools",
    "playhouse": "peewee",
    "pptx": "python-pptx",
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "pyi_splash": "pyinstaller",
    "pylab": "matplotlib",
    "pytest_lazyfixture": "pytest-lazy-fixture",
    "rest_framework": "djangorestframework",
    "rest_framework_simplejwt": "djangorestframework-simplejwt",
    "ruamel": "ruamel.yaml",
    "sass": "libsass",
    "sassutils": "libsass",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "slack": "slackclient",
    "slugify": "python-slugify",
    "snowflake.connector": "snowflake-connector-python",
    "socketio": "python-socketio",
    "socks": "pysocks",
    "sockshandler": "pysocks",
    "speech_recognition": "speechrecognition",
    "tavily": "tavily-python",
    "telebot": "pytelegrambotapi",
    "telegram": "python-telegram-bot",
    "tlz": "toolz",
    "umap": "umap-learn",
    "usb": "pyusb",
    "uwsgidecorators": "uwsgi",
    "vertexai": "google-cloud-aiplatform",
    "websocket": "websocket-client",
    "wx": "wxpython",
    "xdg": "pyxdg",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}

SHARED_NAMESPACES = frozenset({"azure", "google", "google.cloud", "mysql", "snowflake"})
"""Modules that many packages share: nothing can be installed for the bare name."""


def package_of(name: str) -> str | None:
    """The requirement that provides a dotted import; None for a bare shared namespace.

    The longest known prefix decides, else the first word, spelt as the index does.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in DOCUMENTED:
            return DOCUMENTED[prefix]
        if prefix in KNOWN:
            return KNOWN[prefix]
    if parts[0] in SHARED_NAMESPACES:
        return _of_namespace(parts)
    return normalised(parts[0])


def _of_namespace(parts: list[str]) -> str | None:
    """`google.cloud.tasks_v2` → `google-cloud-tasks`: how these packages name themselves."""
    depth = 3 if parts[:2] == ["google", "cloud"] else 2
    if len(parts) < depth:
        return None
    last = re.sub(r"_v[0-9][a-z0-9]*$", "", parts[depth - 1])
    return normalised("-".join([*parts[: depth - 1], last]))


def normalised(name: str) -> str:
    """As the package index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def packages_of(names: Iterable[str]) -> list[str]:
    """The requirements of these imports, each once, in the order of their names."""
    found = {package for name in names if (package := package_of(name)) is not None}
    return sorted(found, key=str.casefold)
