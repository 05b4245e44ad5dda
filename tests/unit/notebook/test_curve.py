"""A run's curve: where its points go, and that it stays small."""

import pytest

from yaongi.notebook.curve import POINTS, SMOOTHED, Curve, curve


def drawn(points: list[tuple[int, float]], total: int | None = None) -> Curve:
    found = curve(points, total)
    assert found is not None
    return found


def xy(line: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in line.split())]


def test_nothing_logged_is_no_curve() -> None:
    assert curve([]) is None


def test_one_point_and_equal_points_have_a_place() -> None:
    for points in ([(1, 2.0)], [(1, 2.0), (2, 2.0)], [(0, 0.0)]):
        found = drawn(points)
        assert all(found.top <= y <= found.base for _, y in xy(found.line))


def test_a_falling_loss_goes_down_and_right_to_the_planned_end() -> None:
    found = drawn([(s, 8 - s / 20) for s in range(10, 101, 10)], total=200)
    points = xy(found.line)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted(y for _, y in points), "down is a larger y"
    middle = (found.left + found.right) / 2
    assert points[-1][0] == pytest.approx(middle), "half of the steps"
    assert found.last == points[-1]


def test_labels_are_round_and_enclose_the_values() -> None:
    found = drawn([(1, 6.87), (150, 2.13)], total=150)
    assert [row.text for row in found.rows] == ["2", "4", "6", "8"]
    assert [column.text for column in found.columns] == ["0", "25", "50", "75", "100", "125", "150"]
    assert all(found.top <= row.at <= found.base for row in found.rows)


def test_a_long_run_is_drawn_by_few_points_with_its_last() -> None:
    found = drawn([(s, 1.0 + s % 2) for s in range(1, 100_001)])
    assert len(xy(found.line)) <= POINTS
    assert xy(found.line)[-1][0] == found.right


def test_enough_points_get_a_smoothed_line_that_starts_at_the_first() -> None:
    noisy = [(s, 3.0 + s % 2) for s in range(1, SMOOTHED + 1)]
    assert drawn(noisy[:-1]).smooth == ""
    found = drawn(noisy)
    smooth = [y for _, y in xy(found.smooth)]
    raw = [y for _, y in xy(found.line)]
    assert smooth[0] == raw[0]
    assert max(smooth[5:]) - min(smooth[5:]) < (max(raw) - min(raw)) / 2


def test_the_beginning_of_a_long_run_fills_a_quarter_at_least() -> None:
    for last in (1, 3, 100, 249_999, 250_001):
        found = drawn([(step, 1.0) for step in {1, last}], total=1_000_000)
        share = (found.last[0] - found.left) / (found.right - found.left)
        assert 0.249 <= share <= 0.51 or last > 250_000
