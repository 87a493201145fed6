/* The re-encryption of one volume (docs/PROTOCOL.md, "Re-encryption"), for spin: what kms-server/core/reencryption.c and
 * node-agent/core/reencrypt.c do, with everything that may go wrong between the steps. The secret stands still: it is rotated before, by
 * the protocol of rotation.pml, and the server keeps the two apart. Volume keys have numbers.
 *
 *   FAULTS   how often the agent dies, or a request or its answer is lost: the run ends, and the next begins with nothing in its hands
 *   LATE     how often a request that was once sent arrives again, however much later
 *   ABORTS   how often an operator aborts
 *   KEYS     re-encryptions are begun until so many volume keys were made
 *
 * Checked: at every moment a release names the fingerprints of what the disk is, so that it unlocks; the next key's only copy is in memory
 * no longer than nothing stands under it; every run comes to its end once the faults are used up. BUG_... plants one mistake each. */

#ifndef FAULTS
#define FAULTS 3
#endif
#ifndef LATE
#define LATE 2
#endif
#ifndef ABORTS
#define ABORTS 1
#endif
#ifndef KEYS
#define KEYS 3
#endif
#define NONCES 40 /* registrations: more than can happen, unless a run goes round for ever */

mtype = {NONE, REGISTERED, RUNNING, PLAIN, BEGUN, COMPLETE};

/* --- the server's record --- */

mtype state = NONE;
byte current = 1;
byte pending = 0;
byte nonce = 0;
bool former[KEYS + 1] = false;

/* --- the header --- */

mtype phase = PLAIN;
byte data = 1; /* the key of the data; of the part that is done, `next` */
byte next = 0; /* the key that an unbound keyslot holds, or 0 */
byte made = 1; /* keys so far */

/* --- requests that were sent --- */

bool sent_start[KEYS + 1] = false;
bool sent_progress[KEYS + 1] = false;
byte promote_nonce[KEYS + 1] = 0;
byte abort_nonce = 0, abort_key = 0;

byte faults = FAULTS;
byte late = LATE;
byte aborts = ABORTS;

inline check()
{
	if
	:: phase == PLAIN -> assert(data == current || (state != NONE && data == pending))
	:: phase == BEGUN -> assert(data == current && state != NONE && pending == next)
	:: phase == COMPLETE -> assert(state != NONE && pending == next)
	fi
}

inline server_start(k, good)
{
	good = true;
	if
	:: k == current || former[k] -> good = false
	:: else ->
		if
#ifdef BUG_SAME_NONCE
		:: state != NONE && pending == k
#else
		:: state != NONE && pending == k -> nonce++
#endif
		:: state == RUNNING && pending != k -> good = false
		:: else ->
			pending = k;
			state = REGISTERED;
			nonce++
		fi;
		assert(nonce < NONCES)
	fi;
	check()
}

inline server_progress(k, good)
{
	good = true;
	if
#ifdef BUG_REPORT_OF_ANY_KEY
	:: state != NONE -> state = RUNNING
#else
	:: state != NONE && pending == k -> state = RUNNING
#endif
	:: else -> good = false
	fi
}

inline server_promote(k, n, good)
{
	good = true;
	if
	:: state == RUNNING && pending == k && nonce == n ->
		former[current] = true;
		current = k;
		pending = 0;
		state = NONE
	:: state == NONE && current == k
	:: else -> good = false
	fi;
	check()
}

inline server_abort(k, n, good)
{
	good = true;
	if
	:: state == NONE
	:: state != NONE && k == current && n == nonce -> state = NONE; pending = 0
	:: else -> good = false
	fi;
	check()
}

#define MAY_FAIL :: atomic { faults > 0 -> faults--; mine = 0; goto again }

inline start(k)
{
	if
	:: atomic { faults > 0 -> faults--; sent_start[k] = true; mine = 0; goto again }
	:: d_step { faults > 0 -> faults--; sent_start[k] = true; server_start(k, good); mine = 0 } goto again
	:: d_step { sent_start[k] = true; server_start(k, good); known = nonce }
	fi
}

inline progress(k)
{
	if
	:: atomic { faults > 0 -> faults--; sent_progress[k] = true; goto again }
	:: d_step { faults > 0 -> faults--; sent_progress[k] = true; server_progress(k, good) } goto again
	:: d_step { sent_progress[k] = true; server_progress(k, good) }
	fi
}

proctype agent()
{
	byte mine, known;
	bool good;

again:
	/* look */
	if
	MAY_FAIL
	:: phase != PLAIN ->
		start(next);
		if
		:: good
		:: !good -> goto again
		fi;
		goto rewrite
	:: phase == PLAIN && state != NONE && data == pending ->
		start(data);
		if
		:: good
		:: !good -> goto again
		fi;
		goto promote
	:: phase == PLAIN && data == current && next != 0 ->
		start(next);
		if
		:: good
		:: !good -> goto again
		fi
	:: phase == PLAIN && data == current && next == 0 && made < KEYS ->
		atomic { made++; mine = made };
		start(mine);
		if
		:: good
		:: !good -> goto again
		fi;
#ifdef BUG_BEGIN_BEFORE_KEYSLOT
		d_step { next = mine; phase = BEGUN; check() } goto rewrite;
#endif
		if
		MAY_FAIL
		:: d_step { next = mine; mine = 0 }
		:: d_step { faults > 0 -> faults--; next = mine; mine = 0 } goto again
		fi
	:: phase == PLAIN && data == current && next == 0 && made == KEYS -> goto end
	fi;

	/* begin */
#ifndef BUG_BEGIN_UNTOLD
	progress(next);
	if
	:: good
	:: !good ->
		start(next);
		if
		:: good
		:: !good -> goto again
		fi;
		progress(next);
		if
		:: good
		:: !good -> goto again
		fi
	fi;
#endif
	if
	MAY_FAIL
	:: d_step { phase = BEGUN; check() }
	:: faults > 0 -> faults--; goto no_room
	fi;

rewrite:
	if
	MAY_FAIL
	:: d_step { phase == BEGUN -> phase = COMPLETE; data = next; check() }
	:: phase == COMPLETE
	fi;
	if
	MAY_FAIL
	:: d_step { phase = PLAIN; next = 0; check() }
	fi;

promote:
	if
	MAY_FAIL
	:: atomic { faults > 0 -> faults--; promote_nonce[data] = known; goto again }
	:: d_step { promote_nonce[data] = known; server_promote(data, known, good) }
	   goto again
	fi;

no_room:
	if
	:: atomic { faults > 0 -> faults--; abort_key = data; abort_nonce = known; goto again }
	:: d_step { abort_key = data; abort_nonce = known; server_abort(data, known, good) }
	fi;
	if
	MAY_FAIL
	:: good -> next = 0
	:: !good
	fi;
	goto again;
end:
	skip
}

proctype network()
{
	byte k;
	bool good;
end:
	do
	:: late == 0 -> break
	:: d_step { late > 0 && abort_key != 0 -> late--; server_abort(abort_key, abort_nonce, good) }
	:: atomic { late > 0 ->
		select(k : 1 .. KEYS);
		if
		:: sent_start[k] -> d_step { late--; server_start(k, good) }
		:: sent_progress[k] -> d_step { late--; server_progress(k, good) }
		:: promote_nonce[k] != 0 -> d_step { late--; server_promote(k, promote_nonce[k], good) }
		:: else -> break
		fi }
	od
}

proctype operator()
{
end:
	do
	:: d_step { aborts > 0 && state == REGISTERED -> aborts--; state = NONE; pending = 0; check() }
	:: d_step { aborts > 0 && state != REGISTERED -> aborts-- }
	:: aborts == 0 -> break
	od
}

init {
	atomic {
		run agent();
		run network();
		run operator()
	}
}
