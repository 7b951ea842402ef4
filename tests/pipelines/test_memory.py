"""Free memory as the machine has it, or the container where that has less."""

import os

import pytest

from imagetext.pipelines import memory
from imagetext.pipelines.memory import free_memory

GIGABYTE = 2**30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A stand-in for /proc and the control groups: a machine with 64 GB free, no limits."""
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "proc")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("proc/meminfo", f"MemTotal: 1 kB\nMemFree: 1 kB\nMemAvailable: {64 * 2**20} kB\n")
    write("proc/self/cgroup", "0::/jobs/job_7/step_0\n")
    return write


def limit(write, folder, most, used, cached=0):
    write(f"groups/{folder}/memory.max", f"{most}\n")
    write(f"groups/{folder}/memory.current", f"{used}\n")
    write(f"groups/{folder}/memory.stat", f"anon 5\ninactive_file {cached}\n")


def test_without_limits_it_is_what_the_machine_can_give(system):
    assert free_memory() == 64 * GIGABYTE
    limit(system, "jobs/job_7/step_0", "max", GIGABYTE)
    assert free_memory() == 64 * GIGABYTE


@pytest.mark.parametrize("folder", ["jobs/job_7/step_0", "jobs/job_7", "jobs", "."])
def test_the_limit_of_any_group_around_counts_and_its_file_cache_is_free(system, folder):
    limit(system, folder, 8 * GIGABYTE, 5 * GIGABYTE, 2 * GIGABYTE)
    assert free_memory() == 5 * GIGABYTE


def test_the_tightest_limit_counts_and_a_passed_one_leaves_nothing(system):
    limit(system, "jobs", 8 * GIGABYTE, GIGABYTE)
    limit(system, "jobs/job_7", 4 * GIGABYTE, GIGABYTE)
    limit(system, "jobs/job_8", GIGABYTE, GIGABYTE)
    assert free_memory() == 3 * GIGABYTE
    limit(system, "jobs", GIGABYTE, 2 * GIGABYTE)
    assert free_memory() == 0


def test_a_container_that_names_its_group_from_outside_has_its_limit_at_the_top(system):
    system("proc/self/cgroup", "0::/../../outside\n")
    limit(system, ".", 2 * GIGABYTE, GIGABYTE)
    assert free_memory() == GIGABYTE


def test_the_groups_of_older_systems_count(system):
    system("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/1\n0::/\n")
    system("groups/memory/docker/1/memory.limit_in_bytes", str(4 * GIGABYTE))
    system("groups/memory/docker/1/memory.usage_in_bytes", str(3 * GIGABYTE))
    system("groups/memory/docker/1/memory.stat", f"total_inactive_file {GIGABYTE}\n")
    assert free_memory() == 2 * GIGABYTE


def test_where_nothing_is_told_it_is_two_gigabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_PROCESS", tmp_path)

    def unknown(_):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert free_memory() == 2 * GIGABYTE


def test_this_machine_has_some():
    assert 1 << 20 < free_memory() < 1 << 50
