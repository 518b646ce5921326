"""Spans of whole numbers, such as `1-3,7`."""


def written(numbers: set[int]) -> str:
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def read(text: str) -> set[int]:
    numbers: set[int] = set()
    for span in filter(None, text.split(",")):
        low, _, high = span.partition("-")
        numbers.update(range(int(low), int(high or low) + 1))
    return numbers
