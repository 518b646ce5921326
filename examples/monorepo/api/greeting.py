"""The API's one answer."""


def greeting(name):
    return {"greeting": f"hello, {name or 'world'}"}
