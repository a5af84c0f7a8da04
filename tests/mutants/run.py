#!/usr/bin/env python3
"""run.py - proves that the campaigns see bugs: each bug that is planted in the sources must make its
campaign fail, and without one the same campaign must pass.

    tests/mutants/run.py                     all
    tests/mutants/run.py NAME...             some
    tests/mutants/run.py --seed N            with another seed of the campaigns that take one (default 1)
    tests/mutants/run.py --budget COUNT|TIME so many planted bugs, or for so long: 90s, 30m, 8h; over again
                                             with the next seed
    tests/mutants/run.py --list              what is planted where

Planted bugs are MUTANT("name") in src/ and tools/ (base/mutant.h); the build of -Dmutants=true has them all, and
VARVE_MUTANT=name turns one on. Every name in the sources must have a row here, and the other way
round. Runs as many at once as there are cores. Closes as tests/support/campaign.h says; each bug is a case,
and so is each campaign without one.
"""
import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections import namedtuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "support"))

import campaign as campaigns  # noqa: E402

ROOT = os.environ.get("VARVE_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.environ.get("VARVE_BUILD") or os.path.join(ROOT, "build", "mutants")
PLANTED = re.compile(r'MUTANT\("([\w-]+)"\)')

# command: a program of BUILD, or an absolute path. limit_s: a mutant that hangs its campaign has been seen as well.
# seeded: it takes --seed.
Campaign = namedtuple("Campaign", "command limit_s seeded", defaults=(False,))


def fuzz(target, inputs):
    """A fuzz target over its corpus and so many mutations."""
    return Campaign([f"tests/fuzz/replay_{target}", os.path.join(ROOT, "tests", "fuzz", "corpus", target),
                     "--budget", str(inputs)], 120)


CAMPAIGNS = {
    "powercut": Campaign(["tests/crash/powercut", "--campaign", "--stop", "--budget", "120000"], 300,
                         True),
    "model": Campaign(["tests/model/model", "--no-regress", "--budget", "2000000"], 300, True),
    "model-kept": Campaign(["tests/model/model", "--budget", "1"], 120),
    "kill9": Campaign([sys.executable, os.path.join(ROOT, "tests", "crash", "kill9.py"),
                       "--budget", "6"], 300, True),
    "storm": Campaign([sys.executable, os.path.join(ROOT, "tests", "storm", "storm.py"),
                       "--small", "--budget", "1"], 300, True),
    "iofail": Campaign(["tests/fault/iofail", "--budget", "5000"], 300, True),
    "property": Campaign(["tests/property/test_memtable_model"], 120),
    "rewrite": Campaign(["tests/property/test_rewrite_model"], 120),
    "segment-set": Campaign(["tests/unit/lsm/test_segment_set"], 120),
    "copied-blocks": Campaign(["tests/unit/lsm/test_copied_blocks"], 120),
    "compaction": Campaign(["tests/unit/lsm/test_compaction"], 120),
    "net-commit": Campaign(["tests/unit/net/test_net_commit"], 120),
    "net-loop": Campaign(["tests/unit/net/test_net_loop"], 120),
    "net-held": Campaign(["tests/unit/net/test_net_held"], 120),
    "net-pinned": Campaign(["tests/unit/net/test_net_pinned"], 120),
    "net-park": Campaign(["tests/unit/net/test_net_park"], 120),
    "net-rebind": Campaign(["tests/unit/net/test_net_rebind"], 120),
    "net-team": Campaign(["tests/unit/net/test_net_team"], 120),
    "cmd-eviction": Campaign(["tests/unit/cmd/test_cmd_eviction"], 120),
    "cmd-park": Campaign(["tests/unit/cmd/test_cmd_park"], 120),
    "keyspace": Campaign(["tests/unit/types/test_types_keyspace"], 120),
    "cmd-string": Campaign(["tests/unit/cmd/test_cmd_string"], 120),
    "db": Campaign(["tests/unit/lsm/test_db"], 120),
    "iter": Campaign(["tests/unit/lsm/test_iter"], 120),
    "cmd-scan": Campaign(["tests/unit/cmd/test_cmd_scan"], 120),
    "expire": Campaign(["tests/unit/types/test_types_expire"], 120),
    "expirer": Campaign(["tests/unit/types/test_types_expirer"], 120),
    "expiry": Campaign(["tests/unit/lsm/test_expiry"], 120),
    "types-bits": Campaign(["tests/unit/types/test_types_bits"], 120),
    "types-lcs": Campaign(["tests/unit/types/test_types_lcs"], 120),
    "types-rdb": Campaign(["tests/unit/types/test_types_rdb_value"], 120),
    "cmd-transaction": Campaign(["tests/unit/cmd/test_cmd_transaction"], 120),
    "cmd-admin": Campaign(["tests/unit/cmd/test_cmd_admin"], 120),
    "cmd-monitor": Campaign(["tests/unit/cmd/test_cmd_monitor"], 120),
    "recovery": Campaign(["tests/unit/lsm/test_recovery"], 120),
    "record": Campaign(["tests/unit/lsm/test_record"], 120),
    "short": Campaign(["tests/unit/lsm/test_short"], 120),
    "manifest": Campaign(["tests/unit/lsm/test_manifest"], 120),
    "room": Campaign(["tests/unit/lsm/test_room"], 120),
    "full-disk": Campaign(["tests/unit/lsm/test_full_disk"], 120),
    "version": Campaign(["tests/unit/lsm/test_version"], 120),
    "rcu": Campaign(["tests/unit/base/test_base_rcu"], 120),
    "view": Campaign(["tests/unit/lsm/test_view"], 120),
    "cache": Campaign(["tests/unit/segment/test_cache"], 120),
    "memory": Campaign(["tests/unit/server/test_server_memory"], 120),
    "executor": Campaign(["tests/unit/env/test_executor_threads"], 30),
    "range-set": Campaign(["tests/unit/lsm/test_range_set"], 120),
    "merge": Campaign(["tests/unit/segment/test_merge_iter"], 120),
    "segment-iter": Campaign(["tests/unit/segment/test_segment_iter"], 120),
    "segment": Campaign(["tests/unit/segment/test_segment"], 120),
    "segment-rot": Campaign(["tests/unit/segment/test_segment_rot"], 120),
    "block": Campaign(["tests/unit/segment/test_block"], 120),
    "block-refused": Campaign(["tests/unit/segment/test_block_refused"], 120),
    "bloom": Campaign(["tests/unit/segment/test_bloom"], 120),
    "hiding": Campaign(["tests/unit/segment/test_hiding"], 120),
    "properties": Campaign(["tests/unit/segment/test_properties"], 120),
    "picker": Campaign(["tests/unit/lsm/test_picker"], 120),
    "wal-sync": Campaign(["tests/unit/lsm/test_wal_sync"], 120),
    "checkpoint": Campaign(["tests/unit/lsm/test_checkpoint"], 120),
    "checkpoint-steps": Campaign(["tests/unit/lsm/test_checkpoint_steps"], 120),
    "checkpoint-faults": Campaign(["tests/unit/lsm/test_checkpoint_faults"], 120),
    "flusher": Campaign(["tests/unit/lsm/test_flusher"], 120),
    "limits": Campaign(["tests/unit/lsm/test_limits"], 120),
    "block-memory": Campaign(["tests/unit/lsm/test_block_memory"], 120),
    "compactor": Campaign(["tests/unit/lsm/test_compactor"], 120),
    "watchdog": Campaign(["tests/unit/lsm/test_watchdog"], 120),
    "fetch": Campaign(["tests/unit/lsm/test_fetch"], 120),
    "space": Campaign(["tests/unit/lsm/test_space"], 120),
    "leftovers": Campaign(["tests/unit/lsm/test_leftovers"], 120),
    "count-keys": Campaign(["tests/unit/lsm/test_count_keys"], 120),
    "count-about": Campaign(["tests/unit/lsm/test_count_about"], 120),
    "pacer": Campaign(["tests/unit/lsm/test_pacer"], 20),
    "memtable-entries": Campaign(["tests/unit/lsm/test_memtable_entries"], 120),
    "merkle": Campaign([sys.executable, os.path.join(ROOT, "tests", "tool", "run.py"),
                        "merkle/one_key"], 300),
    "salvage": Campaign([sys.executable, os.path.join(ROOT, "tests", "tool", "run.py"),
                         "salvage/undamaged", "salvage/forged"], 300),
    "restore": Campaign([sys.executable, os.path.join(ROOT, "tests", "tool", "run.py"),
                         "checkpoint/closed"], 300),
    "tool": Campaign([sys.executable, os.path.join(ROOT, "tests", "tool", "run.py"), "damage"], 300),
    "bitrot": Campaign(["tests/crash/bitrot"], 300),
    "linear-engine": Campaign(["tests/race/linear_engine", "--budget", "200000"], 120),
    "linear-server": Campaign(["tests/race/linear_server", "--budget", "200000"], 200),
    "row_cache": Campaign(["tests/unit/lsm/test_row_cache"], 120),
    "explore": Campaign(["tests/race/explore"], 120),
    "picker-sim": Campaign(["tests/property/test_picker_sim"], 300),
    "fuzz-batch": fuzz("batch", 20000),
    "fuzz-commands": fuzz("commands", 2000),
    "fuzz-glob": fuzz("glob", 20000),
    "fuzz-numbers": fuzz("numbers", 20000),
    "fuzz-properties": fuzz("properties", 50000),
    "fuzz-reply": fuzz("reply", 20000),
    "fuzz-segment": fuzz("segment", 5000),
    "fuzz-segment-index": fuzz("segment_index", 50000),
}

Mutant = namedtuple("Mutant", "name campaign what")
MUTANTS = (
    # Walks over names.
    Mutant("scan-cuts-a-hash", "cmd-scan", "a page of SCAN ends between two names of one hash"),
    Mutant("scan-skips-a-hash", "cmd-scan", "SCAN's cursor stands behind the name that comes next"),
    Mutant("walk-gives-no-way", "cmd-scan", "a walk over all names holds its thread to the end"),
    Mutant("iterator-passes-all", "db", "a walk that may not wait passes any number of tombstones"),
    Mutant("scan-shows-older-version", "iter", "a scan of one run shows a key once a version"),
    Mutant("scan-forgets-ranges", "iter", "a scan leaves the range tombstones of memtables out"),
    # Values.
    Mutant("bitcount-keeps-edge", "types-bits", "BITCOUNT counts all of the last byte of a range of bits"),
    Mutant("lcs-prefers-up", "types-lcs", "of two as long subsequences LCS takes the other one"),
    Mutant("restore-trusts-length", "types-rdb", "RESTORE reads as far as a payload says"),
    # Transactions.
    Mutant("cut-keeps-log", "model", "what was cut off the open group stays in its log record"),
    Mutant("log-keeps-borrowing", "db", "the log reads a large value where its caller had it"),
    Mutant("cut-keeps-map", "cmd-transaction", "a cut leaves the map of databases as it was changed"),
    Mutant("forget-amid-group", "cmd-transaction", "a clock renewed amid a turn forgets what EXEC needs again"),
    Mutant("exec-acts-twice", "cmd-transaction", "EXEC of CLIENT KILL and the like runs again for a cold key"),
    Mutant("half-transaction", "cmd-transaction", "EXEC keeps what ran before a write was refused"),
    Mutant("forget-skip", "cmd-admin", "after a failed commit CLIENT REPLY SKIP is forgotten"),
    Mutant("expire-in-pause", "cmd-admin", "expired keys are deleted while writes are paused"),
    Mutant("monitor-undone", "cmd-monitor", "MONITOR shows what a failed commit undid"),
    Mutant("no-rewind", "cmd-transaction", "a failed commit takes the queue of EXEC with it"),
    # What is made durable, and when that is said.
    Mutant("skip-wal-sync", "powercut", "the log is never synced"),
    Mutant("behind-forgets-sync", "wal-sync", "a sync that is asked for while the log is written behind never runs"),
    Mutant("skip-full-wal-sync", "powercut", "a full log file is left unsynced at the rotation"),
    Mutant("skip-new-wal-sync", "powercut", "the manifest names a log file that is not durable"),
    Mutant("skip-dir-sync", "powercut", "a new file's name is not durable"),
    Mutant("skip-manifest-sync", "powercut", "an edit of the manifest counts before it is durable"),
    Mutant("skip-current-sync", "powercut", "CURRENT is renamed before its bytes are durable"),
    Mutant("skip-current-dir-sync", "powercut", "the rename of CURRENT is not durable"),
    Mutant("skip-seal-sync", "powercut", "a clean close leaves its seal unsynced"),
    Mutant("skip-heal-sync", "powercut", "healing names a file that is not durable"),
    Mutant("trust-found-dir", "powercut", "a directory that was found is taken for durable"),
    Mutant("ack-before-sync", "powercut", "all is said to be durable"),
    Mutant("durable-past-target", "powercut", "what was written while a sync ran counts as synced"),
    Mutant("promise-written", "powercut", "records promise what is only written"),
    Mutant("never-hold", "powercut", "in everysec no write is held for a slow sync"),
    Mutant("no-end-at-close", "powercut", "rot that takes the seal passes for a torn tail"),
    Mutant("flush-before-log-sync", "powercut", "a flush is named before the log is durable"),
    # Failures.
    Mutant("swallow-sync-error", "powercut", "a failed sync counts as one that worked"),
    Mutant("keep-failed-group", "powercut", "a group that was refused stays in memory"),
    Mutant("publish-before-write", "powercut", "a group is visible before it is written"),
    Mutant("show-in-doubt", "powercut", "in always, what a failed sync left in doubt is shown"),
    Mutant("ignore-write-error", "iofail", "a failed write counts as one that worked"),
    Mutant("reuse-failed-manifest", "iofail", "a manifest is written on behind a failed edit"),
    Mutant("heal-open-group", "powercut", "healing writes a group that is not committed"),
    Mutant("skip-fence", "powercut", "healing does not end the old log file"),
    Mutant("fence-at-written", "powercut", "healing ends the old log file behind what is durable"),
    Mutant("heal-active-only", "powercut", "healing leaves out the memtables that wait"),
    Mutant("heal-forgets-ranges", "powercut", "healing writes no range tombstones"),
    # Checkpoints.
    Mutant("checkpoint-log-unsynced", "checkpoint-faults", "the copied log is not made durable"),
    Mutant("checkpoint-name-unsynced", "checkpoint-faults", "the last rename is not made durable"),
    Mutant("checkpoint-log-reused", "checkpoint", "a log file is written anew while it is copied"),
    Mutant("checkpoint-while-healing", "checkpoint", "a log that is being healed is copied"),
    Mutant("checkpoint-gives-no-way", "checkpoint-steps", "a long copy holds up every compaction"),
    Mutant("checkpoint-holds-nothing", "checkpoint", "segments go before they are linked"),
    Mutant("restore-links-log", "restore", "what a server writes to is linked to the checkpoint"),
    # Recovery.
    Mutant("skip-wal-crc", "powercut", "the payload's CRC is not checked"),
    Mutant("short-of-any-seq", "record", "a short record's CRC does not tell its place in the log"),
    Mutant("short-binds-no-chunk", "record", "a short record's header does not bind its chunk's CRC"),
    Mutant("short-for-a-promise", "short", "a promise that moved is not written before a clock is"),
    Mutant("long-only-once", "short", "the promise is not repeated in a long log"),
    Mutant("skip-chunk-crc", "powercut", "the chunk's CRC is not checked"),
    Mutant("tolerate-rot", "recovery", "rot passes for a torn tail"),
    Mutant("unvouched-not-copied", "powercut", "what nothing vouches for is not written anew"),
    Mutant("drop-middle-file", "powercut", "a log file without operations leaves a gap"),
    Mutant("refuse-stale-block", "powercut", "an unfinished file with an old block refuses the open"),
    Mutant("reuse-file-number", "powercut", "numbers of files that are there are given out again"),
    Mutant("unlink-manifest-early", "powercut", "the old manifest goes before the new one counts"),
    Mutant("forget-clock", "powercut", "the clock runs back over a restart"),
    Mutant("reuse-unsynced-log", "leftovers", "a log file whose sync failed is written anew"),
    # Segments.
    Mutant("block-order-of-versions", "block-refused", "versions of a key may lie in any order"),
    Mutant("ranges-in-pieces", "block", "range tombstones keep a chunk of block memory for good"),
    Mutant("spare-beyond-limit", "block-memory", "spare memory of blocks stays when the cache shrinks"),
    Mutant("spare-unseen", "block-memory", "long values come on top of spare memory of blocks"),
    Mutant("filters-alike", "compactor", "filters above the last level are as short as in it"),
    Mutant("spare-for-good", "block-memory", "spare memory of blocks is never given back"),
    Mutant("join-any", "segment", "a copied block grows with each merge"),
    Mutant("skip-packed-crc", "segment", "a compressed value is copied with its damage"),
    Mutant("block-find-newest", "block", "a snapshot sees the newest version in a block"),
    Mutant("filter-drops-key", "bloom", "the last key is not in the filter"),
    Mutant("hiding-trusts-filters", "hiding", "what filters say by chance counts as hidden"),
    Mutant("bound-not-raised", "properties", "a cut upper bound lies below its key"),
    # Levels.
    Mutant("cache-never-tight", "room", "what was evicted from the cache is not freed, and fills it"),
    Mutant("full-keeps-tombstones", "room", "on a full disk deletes stay in memory and free nothing"),
    Mutant("covered-part-stays", "room", "a segment that range tombstones hide in part keeps its size"),
    Mutant("superseded-uncounted", "room", "the space of a snapshot's old versions does not come back"),
    Mutant("adopt-file-number", "manifest", "a number drawn while an edit is written is handed out again"),
    Mutant("move-forgets-level", "manifest", "a segment that moves stays at its level"),
    Mutant("renew-forgets-flushed", "manifest", "a new manifest does not say what is flushed"),
    Mutant("oldest-run-first", "version", "of level 0 the oldest run is asked first"),
    Mutant("keep-stale-ranges", "version", "range tombstones stay when their segment goes"),
    Mutant("upper-by-slice", "version", "keys that begin like a segment's upper bound are not looked for in it"),
    Mutant("upper-bound-inclusive", "version", "a segment is taken to hold its upper bound"),
    # What is compacted.
    Mutant("merge-leaves-older", "picker-sim", "a merge passes an older segment of level 0"),
    Mutant("merge-inside-skips-run", "picker", "a merge inside level 0 leaves a run out in between"),
    Mutant("rest-merges-unlike", "picker", "a database at rest rewrites its largest run for each small one"),
    Mutant("hiding-uncounted", "picker", "what is overwritten is never merged for its space"),
    Mutant("merge-beyond-room", "picker", "a merge is chosen that the disk has no room for"),
    Mutant("full-culls-nothing", "picker-sim", "a full disk never comes back where no merge fits"),
    Mutant("reserve-for-flushes-only", "full-disk", "the reserve lies there while nothing else is left"),
    Mutant("cull-for-ever", "picker", "the same segment is culled over and over"),
    Mutant("cull-counts-nothing", "rewrite", "what a cull drops still counts as live"),
    Mutant("drop-over-older", "picker", "tombstones are dropped though they hide something"),
    Mutant("drop-under-snapshot", "model-kept", "a segment goes that a snapshot sees"),
    # Bytes that rot.
    Mutant("skip-file-header-crc", "bitrot", "the CRC of a file's header is not checked"),
    Mutant("accept-foreign-id", "bitrot", "a file of another directory is taken"),
    Mutant("salt-without-number", "bitrot", "CRCs do not tell one file from another"),
    Mutant("skip-record-header-crc", "bitrot", "the CRC of a log record's header is not checked"),
    Mutant("skip-current-crc", "bitrot", "the CRC of CURRENT is not checked"),
    Mutant("edit-of-any-place", "bitrot", "an edit of the manifest may lie where another one was"),
    Mutant("skip-block-crc", "bitrot", "the CRC of a data block is not checked"),
    Mutant("skip-meta-block-crc", "bitrot", "the CRCs of index, filter and properties are not checked"),
    Mutant("block-of-any-place", "bitrot", "the CRC of a block does not tell where it lies"),
    Mutant("skip-footer-crc", "bitrot", "the CRC of a segment's footer is not checked"),
    # What a client is told.
    Mutant("skip-log-write", "kill9", "groups stay in the process's memory"),
    Mutant("reply-before-commit", "net-commit", "replies leave before their turn's commit"),
    Mutant("turn-holds-all", "net-loop", "a turn makes replies of any length for all before one is sent"),
    Mutant("send-before-commit", "net-loop", "long replies take those of writes along that were not logged"),
    Mutant("stop-drops-read", "net-loop", "commands that were read when the loop is stopped do not run"),
    Mutant("keep-failed-replies", "net-commit", "replies of a failed commit are sent"),
    Mutant("pin-for-slow-reader", "net-pinned", "a value stays pinned until a slow reader took it"),
    Mutant("held-not-moved", "net-pinned", "values that are copied do not move held replies behind them"),
    Mutant("release-held-early", "net-held", "a reply does not wait for the sync"),
    # Several loops.
    Mutant("guest-leaves-early", "net-team", "a guest's reply leaves before it is durable"),
    Mutant("local-overtakes", "net-team", "a read overtakes a write of its own connection"),
    Mutant("read-unseen", "net-team", "what came in the turn of a recall is never run"),
    Mutant("guest-of-old-clock", "net-team", "a key expires on one loop and lives on the next"),
    Mutant("forget-recall", "net-team", "what is pushed to a client on its way waits for its next command"),
    Mutant("read-never-holds", "db", "a read of another loop shows what is not durable"),
    Mutant("map-shown-late", "keyspace", "a reader looks into the database that was there before SWAPDB"),
    Mutant("show-while-failed", "keyspace", "a reader shows what it met while the log had failed"),
    Mutant("torn-mget", "keyspace", "MGET on another loop sees half of an MSET"),
    # What clients may cost.
    Mutant("no-output-limit", "storm", "output grows beyond the hard limit"),
    Mutant("no-soft-limit", "storm", "output stays above the soft limit for ever"),
    Mutant("run-when-clogged", "storm", "commands run for a client that does not read"),
    Mutant("push-unbounded", "storm", "monitors that do not read are kept"),
    Mutant("strangers-unlimited", "storm", "before AUTH a client may send what it likes"),
    Mutant("trust-length", "storm", "a declared length is allocated"),
    Mutant("evict-nobody", "cmd-eviction", "clients together hold what they like"),
    Mutant("evict-no-evict", "cmd-eviction", "CLIENT NO-EVICT spares nobody"),
    Mutant("keep-closed-input", "storm", "the input of closed connections is kept"),
    Mutant("never-idle", "storm", "no connection is idle: none is closed or trimmed for it"),
    Mutant("keep-who-left", "storm", "who left while its command waits is kept until that runs"),
    Mutant("accept-spins", "storm", "a listener without descriptors is polled on"),
    Mutant("expire-blind", "expirer", "the expirer deletes names that were written anew"),
    Mutant("expire-counts-all", "expirer", "it counts names that it did not delete, some twice"),
    Mutant("expire-no-back-off", "expire", "rounds never end where nothing more expires"),
    Mutant("newest-ignores-flush", "expiry", "after a flush a sweeper takes an old record for the newest"),
    Mutant("no-expiry-grace", "expiry", "compactions drop what the sweeper has not counted"),
    Mutant("map-not-undone", "keyspace", "a flush that was refused stays"),
    # What is read.
    Mutant("publish-late", "linear-engine", "a write is answered before it can be seen"),
    Mutant("oldest-memtable-first", "linear-engine", "the memtable that waits is asked first"),
    Mutant("read-before-turn", "linear-server", "INCR does not see what its turn wrote"),
    Mutant("skip-log-write", "linear-server", "what was answered is gone after a kill"),
    Mutant("snapshot-sees-new", "property", "a reader sees what was written after it began"),
    Mutant("log-parked", "net-park", "a parked command runs again with its turn, and later"),
    Mutant("rebind-restores-nothing", "net-rebind",
           "after a failed CONFIG SET bind the old addresses stay closed"),
    Mutant("cold-keeps-replies", "net-held", "what is durable stays with who waits for the disk when the loop stops"),
    Mutant("cold-is-not-behind", "net-park", "who just waited for the disk runs as early as the others"),
    Mutant("overtake-parked", "net-park", "commands of a turn that runs again overtake one that parks"),
    Mutant("count-before-transaction", "cmd-park",
           "DBSIZE in a transaction leaves out what it wrote"),
    Mutant("vain-for-ever", "cmd-park", "writes of others make fetches in vain for ever"),
    Mutant("blocked-is-absent", "cmd-park", "a key that is not in memory counts as absent"),
    Mutant("write-though-blocked", "cmd-park", "a command that parks has written some of its keys"),
    Mutant("increment-forgets-expiry", "cmd-string", "INCR makes a key stay for ever"),
    Mutant("ignore-expiry", "powercut", "expired records are shown"),
    Mutant("count-ignores-range", "powercut", "a range delete leaves the counts as they were"),
    # What a compaction keeps.
    Mutant("rewrite-drops-tombstone", "rewrite", "a tombstone goes though something lies below it"),
    Mutant("rewrite-ignores-snapshot", "rewrite", "a version that a snapshot needs goes"),
    Mutant("expired-leaves-nothing", "rewrite", "an expired put goes without a tombstone"),
    Mutant("count-pair-ignored", "rewrite", "a merge takes what was live before for absent"),
    Mutant("range-clip-short", "segment-set", "a range tombstone loses a key where a run is cut"),
    Mutant("skip-read-back", "segment-set", "a new segment is named without being read back"),
    Mutant("skip-segment-dir-sync", "segment-set", "a new segment's name is not durable"),
    Mutant("range-cover-first-stretch", "range-set", "what covers the first keys is taken for all"),
    Mutant("range-touches-end", "range-set", "a range that begins at the end touches"),
    # Segments.
    Mutant("merge-trusts-rival", "merge", "the source that won last is taken to win again"),
    Mutant("seek-waits-in-turn", "segment-iter", "a seek waits for one run before it asks the disk for the next"),
    Mutant("separator-too-short", "segment", "some separators are not above the keys before them"),
    Mutant("ties-ignored", "segment", "where separators are cut, only one block is looked at"),
    Mutant("long-value-at-once", "segment", "who must not wait reads long values, if they are in memory"),
    Mutant("copy-past-rival", "copied-blocks", "a block is copied into which another source reaches"),
    Mutant("parts-unsized", "compactor", "each part of a large merge ends with a small segment"),
    Mutant("parts-uneven", "compactor", "one part of a large merge has nearly all of it"),
    Mutant("copy-across-bounds", "compaction", "a block is copied that reaches beyond its part"),
    Mutant("copy-over-a-cut", "copied-blocks", "a copied block hides where the run is to be cut"),
    Mutant("copy-over-a-tombstone", "compaction", "a block is copied of which a range tombstone hides something"),
    Mutant("copy-keeps-expired", "copied-blocks", "a block is copied with what has expired"),
    Mutant("copy-keeps-versions", "compaction", "a block is copied with versions that nobody sees"),
    Mutant("copy-keeps-marks", "copied-blocks", "a block is copied whose marks were to be answered"),
    Mutant("copied-unverified", "copied-blocks", "what was copied is not read back"),
    Mutant("copy-unchecked", "segment", "a record is copied whose CRC does not match"),
    Mutant("verify-skips-values", "segment-rot", "value blocks are read, but not checked"),
    Mutant("merkle-ignores-expiry", "merkle", "two directories whose expiries differ are equal"),
    Mutant("salvage-forgets-ranges", "salvage", "a flushed database is back after a salvage"),
    Mutant("salvage-skips-crc", "salvage", "a record that was never written is salvaged"),
    Mutant("verify-skips-block", "tool", "of a damaged block or record verify says nothing"),
    Mutant("verify-skips-counts", "tool", "verify believes what the manifest counts"),
    # What lies in memory.
    Mutant("skip-grace-period", "rcu", "what readers may look at is freed"),
    Mutant("free-view-at-once", "view", "a view goes while a reader takes its reference"),
    Mutant("skip-grace-period", "explore", "what readers may look at is freed"),
    Mutant("free-view-at-once", "explore", "a view goes while a reader takes its reference"),
    Mutant("skip-view-recheck", "explore", "a read's sequence is newer than its view"),
    Mutant("publish-before-fill", "explore", "a view is seen before all memtables are in it"),
    Mutant("retire-over-another", "explore", "of two that retire at once, one is lost"),
    Mutant("row-of-old-version", "explore", "a row is made from a version before the last flush"),
    Mutant("row-stays-at-flush", "explore", "a flush leaves the rows of what it overwrote"),
    Mutant("row-from-the-future", "row_cache", "a read sees a row that is newer than its sequence"),
    Mutant("row-slab-at-once", "row_cache", "rows are written where readers may look still"),
    Mutant("row-first-touch", "row_cache", "a scan fills the row cache"),
    Mutant("row-expired", "row_cache", "a row shows what a compaction has dropped"),
    Mutant("cache-forgets-limbo", "cache", "an evicted block does not count, though it is there"),
    Mutant("cache-skips-limbo", "cache", "an evicted block is freed at once"),
    Mutant("cache-slot-stays", "cache", "an evicted block is found on in its slot"),
    Mutant("memory-forgets-others", "memory", "the block cache does not give way to what grows beside it"),
    Mutant("memory-forgets-rows", "memory", "a new budget does not count the row cache that there is"),
    Mutant("executor-only-watches", "executor", "nobody helps where a job holds up those behind it"),
    Mutant("executor-wakes-one", "executor", "of several jobs submitted at once only the first wakes a thread"),
    Mutant("cache-no-small-queue", "cache", "a scan sweeps the cache empty"),
    # What a compaction keeps.
    # What goes on in the background.
    Mutant("flush-ignores-snapshot", "flusher", "a flush drops what a snapshot since its build sees"),
    Mutant("flush-starts-late", "limits", "two whole memtables lie in memory while one is flushed"),
    Mutant("tick-ends-at-full", "flusher", "with memtables full and a range due, nothing is flushed"),
    Mutant("idle-keeps-floor", "compactor", "what a small database has overwritten is never merged"),
    Mutant("merge-relieves-at-end", "compactor", "writers wait for all of a merge"),
    Mutant("memory-brings-nothing", "compactor", "writers meet what a flush brings all at once"),
    Mutant("level0-merged-twice", "picker", "what goes down next is first merged in level 0"),
    Mutant("flush-wakes-nobody", "watchdog", "after a flush nobody looks at the levels"),
    Mutant("level0-keeps-files", "watchdog", "level 0 stays, though files are too many"),
    Mutant("flush-newest-only", "memtable-entries", "a flush leaves the older versions out"),
    Mutant("fetch-of-old-version", "fetch", "what was fetched answers though levels changed"),
    Mutant("low-for-ever", "space", "writes are refused though there is room again"),
    Mutant("reserve-stays", "space", "a full disk does not give the reserve up"),
    Mutant("full-keeps-dead-logs", "space", "a full disk keeps log files for later"),
    Mutant("memory-has-no-room", "space", "what is in memory takes what min-free keeps"),
    Mutant("writes-outrun-looks", "space", "a look that is late lets the disk fill"),
    Mutant("cut-group-counts", "space", "the bytes of a group that was cut are a huge number"),
    Mutant("refusals-flush-nothing", "space", "what is too large for the room beside memory is refused for ever"),
    Mutant("count-answer-for-ever", "count-keys", "what expired and was dropped is still taken off"),
    Mutant("count-trusts-first-sample", "count-about", "few keys, or doubtful ones, are not exact"),
    Mutant("merge-ignores-ranges", "count-keys", "what a range tombstone covers counts as live below"),
    Mutant("counts-side-by-side", "count-about", "several counts run at once"),
    Mutant("pacer-waits-for-nobody", "pacer", "flushes and compactions write as fast as they can"),
    # What comes from files and clients, as the fuzz targets see it.
    Mutant("key-length-unchecked", "fuzz-batch", "a key in a log record may reach past the record"),
    Mutant("append-forgets-expiry", "fuzz-commands", "APPEND takes the expiry off its key"),
    Mutant("glob-skips-a-place", "fuzz-glob", "behind a * some places are not tried"),
    Mutant("size-wraps", "fuzz-numbers", "a size that passes 64 bits is taken modulo 2^64"),
    Mutant("group-live-unchecked", "fuzz-properties", "a count group may have more keys than entries"),
    Mutant("error-keeps-newline", "fuzz-reply", "an error reply may hold a line end"),
    Mutant("place-length-unchecked", "fuzz-segment", "a length of the properties is allocated as it is"),
    Mutant("index-end-unchecked", "fuzz-segment-index", "the index need not cover all of the data"),
)

Outcome = namedtuple("Outcome", "failed how took_s")


def planted():
    """The names in the sources, each with its files."""
    found = {}
    for folder, _, names in sorted([*os.walk(os.path.join(ROOT, "src")),
                                    *os.walk(os.path.join(ROOT, "tools"))]):
        for name in sorted(names):
            if not name.endswith((".c", ".h")):
                continue
            path = os.path.join(folder, name)
            with open(path, encoding="utf-8") as file:
                for mutant in PLANTED.findall(file.read()):
                    found.setdefault(mutant, []).append(os.path.relpath(path, ROOT))
    found.pop("name", None)  # base/mutant.h's own example
    return found


def first_words(output):
    for line in output.splitlines():
        if re.match(r"FAILED|failed:|died|CHECK|check|.*WRONG|\[  ERROR", line):
            return re.sub(r"^(FAILED:?|\[  ERROR   \] ---) *", "", line)[:90]
    return output.strip().splitlines()[-1][:90] if output.strip() else "nothing said"


def run(campaign, mutant, seed):
    """Runs the campaign with a mutant, or with none."""
    env = dict(os.environ, VARVE_ROOT=ROOT)
    env.pop("VARVE_MUTANT", None)
    if mutant:
        env["VARVE_MUTANT"] = mutant
    env.setdefault("VARVED", os.path.join(BUILD, "src", "server", "varved"))
    command = [os.path.join(BUILD, campaign.command[0])] + campaign.command[1:]
    if campaign.seeded:
        command += ["--seed", str(seed)]
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=campaign.limit_s)
        failed, how = done.returncode != 0, first_words(done.stdout.decode(errors="replace"))
    except subprocess.TimeoutExpired:
        failed, how = True, f"it did not end within {campaign.limit_s} s"
    return Outcome(failed, how if failed else "", time.monotonic() - began)


def tell(verdict, name, campaign, took_s, text):
    print(f"{verdict:<7} {name:<22} {campaign:<10} {took_s:6.1f} s  {text}", flush=True)


def check_table(found):
    """Rows without a planted bug, and the other way round."""
    rows = {mutant.name for mutant in MUTANTS}
    wrong = 0
    for name in sorted(set(found) - rows):
        tell("FAILED", name, "-", 0, f"in {found[name][0]}, but in no row of run.py")
        wrong += 1
    for name in sorted(rows - set(found)):
        tell("FAILED", name, "-", 0, "nowhere in src/")
        wrong += 1
    return wrong


class Round:
    """Hands out what is to be run: each campaign without a planted bug, then the bugs, then the bugs with the
    next seed, as long as the budget lasts."""

    def __init__(self, chosen, seed, budget):
        self.chosen, self.seed, self.budget = chosen, seed, budget
        self.clean = sorted({mutant.campaign for mutant in chosen})
        self.lock = threading.Lock()
        self.begun = self.passed = self.failed = 0
        self.caught, self.missed = 0, []

    def take(self):
        """(campaign, mutant or None, seed), or None at the end."""
        with self.lock:
            if self.clean:
                return self.clean.pop(0), None, self.seed
            more = self.budget.left(self.begun) if self.budget else self.begun < len(self.chosen)
            if not more:
                return None
            mutant = self.chosen[self.begun % len(self.chosen)]
            seed = self.seed + self.begun // len(self.chosen)
            self.begun += 1
            return mutant.campaign, mutant, seed

    def note(self, name, mutant, outcome):
        with self.lock:
            good = outcome.failed == (mutant is not None)
            self.passed += good
            self.failed += not good
            if mutant is None:
                tell("passed" if good else "FAILED", "(none)", name, outcome.took_s,
                     outcome.how or "passes without a planted bug")
                return
            self.caught += good
            if not good:
                self.missed.append(mutant.name)
            tell("caught" if good else "MISSED", mutant.name, name, outcome.took_s,
                 outcome.how or mutant.what)

    def work(self):
        while (task := self.take()) is not None:
            name, mutant, seed = task
            self.note(name, mutant, run(CAMPAIGNS[name], mutant.name if mutant else None, seed))

    def run(self):
        workers = [threading.Thread(target=self.work) for _ in range(os.cpu_count() or 2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


def main():
    parser = argparse.ArgumentParser(description="planted bugs must be caught")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=campaigns.Budget, help="planted bugs, or a time: 90s, 30m, 8h")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    found = planted()
    if options.list:
        for mutant in MUTANTS:
            print(f"{mutant.name:<22} {mutant.campaign:<10} {mutant.what} "
                  f"({', '.join(found.get(mutant.name, ['nowhere']))})")
        return 0
    unknown = set(options.names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        sys.exit(f"run.py: there is no mutant {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    wrong = check_table(found)
    work = Round(chosen, options.seed, options.budget)
    work.run()
    missed = f"; missed: {', '.join(work.missed)}" if work.missed else ""
    return campaigns.close("mutants", options.seed, work.passed, work.failed + wrong,
                           f"{len(found)} planted, {work.caught} of {work.begun} caught{missed}")


if __name__ == "__main__":
    sys.exit(main())
