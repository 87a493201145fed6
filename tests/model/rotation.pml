/* The rotation of one volume's secret (DESIGN.md section 5), for spin: what kms-server/core/rotation.c and
 * node-agent/core/rotate.c do, step by step, with everything that may go wrong between the steps.
 *
 *   FAULTS   how often an agent dies, or a request or its answer is lost (to an agent all of these are one thing: the
 *            run ends, and the next begins at "stage" with nothing in its hands). The server's own death is the same: what it
 *            answered is committed, what it did not answer may be.
 *   LATE     how often a request that was once sent arrives again, however much later: doubled, delayed, out of order
 *   ABORTS   how often an operator aborts
 *   AGENTS   1, or 2 by mistake, who do not know of one another
 *   VERSIONS rotations are made until the server has had so many versions; SLOTS is the header's room
 *
 * Checked: at every moment a secret that a release returns opens the volume, and the active one always does; a secret is
 * retired only when no keyslot holds it any more; and every run comes to its end once the faults are used up (no cycle, and no
 * end but the valid ones). BUG_... plants one mistake each, which the test wants found. */

#ifndef AGENTS
#define AGENTS 2
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef LATE
#define LATE 2
#endif
#ifndef ABORTS
#define ABORTS 1
#endif
#ifndef VERSIONS
#define VERSIONS 4
#endif
#ifndef SLOTS
#define SLOTS 4
#endif

mtype = {NONE, PENDING, ACTIVE, PREVIOUS, DEACTIVATED, DESTROYED};

/* --- the server: one record, changed by whole transactions --- */

mtype state[VERSIONS + 1] = NONE;
byte newest = 1;
byte rotation = 0; /* the version that is being brought in, or 0 */

/* --- the header, and who has an older copy of it in memory --- */

byte holds[VERSIONS + 1] = 0; /* keyslots by the version that opens them */
byte used = 1;                /* keyslots taken, with those that nothing opens any more */
bool stale[2] = false;

/* --- every request that was ever sent: any of them may arrive once more --- */

bool sent_stage, sent_abort;
bool sent_promote[VERSIONS + 1] = false;
bool sent_retire[VERSIONS + 1] = false;

byte faults = FAULTS;
byte late = LATE;
byte aborts = ABORTS;

inline check()
{
	v = 1;
	opens = false;
	do
	:: v <= VERSIONS ->
		if
		:: holds[v] > 0 && (state[v] == PENDING || state[v] == ACTIVE || state[v] == PREVIOUS) -> opens = true
		:: else
		fi;
		assert(state[v] != ACTIVE || holds[v] > 0);
		v++
	:: else -> break
	od;
	assert(opens);
	v = 0;
	opens = false
}

inline find(wanted, out)
{
	v = 1;
	out = 0;
	do
	:: v <= VERSIONS ->
		if
		:: state[v] == wanted -> assert(out == 0); out = v
		:: else
		fi;
		v++
	:: else -> break
	od;
	v = 0
}

inline server_stage()
{
	if
	:: rotation == 0 && newest < VERSIONS ->
		newest++;
		state[newest] = PENDING;
		rotation = newest
	:: else
	fi
}

inline server_promote(n, good)
{
	good = true;
	if
	:: state[n] == ACTIVE
	:: state[n] == PENDING && rotation == n ->
		/* the proof that came with it */
		assert(holds[n] > 0);
		v = 1;
		do
		:: v <= VERSIONS ->
			if
			:: state[v] == DEACTIVATED -> state[v] = DESTROYED
			:: state[v] == ACTIVE -> state[v] = PREVIOUS
			:: else
			fi;
			v++
		:: else -> break
		od;
		state[n] = ACTIVE
	:: else -> good = false
	fi;
	check()
}

inline server_retire(n, good)
{
	good = true;
	if
	:: state[n] == DEACTIVATED || state[n] == DESTROYED
	:: state[n] == PREVIOUS ->
		assert(holds[n] == 0);
		state[n] = DEACTIVATED;
		rotation = 0
	:: else -> good = false
	fi;
	check()
}

inline server_abort()
{
	if
	:: rotation != 0 && state[rotation] == PENDING ->
		state[rotation] = DESTROYED;
		rotation = 0
	:: else
	fi;
	check()
}

/* What a fault may do to an agent between any two steps. */
#define MAY_FAIL :: atomic { faults > 0 -> faults--; goto again }

inline load()
{
	stale[me] = false
}

inline wrote()
{
	stale[1 - me] = true;
	check()
}

proctype agent(bit me)
{
	byte v, fresh, old, previous;
	bool opens, good, promoted;

again:
	if
	MAY_FAIL
	:: d_step {
		sent_stage = true;
		server_stage();
		find(PREVIOUS, previous);
		promoted = previous != 0;
		find(ACTIVE, old);
		fresh = rotation;
		if
		:: promoted -> fresh = old; old = previous
		:: else
		fi;
		previous = 0
	   }
	   if
	   :: fresh == 0 -> goto end /* no version is left: all rotations were made */
	   :: else
	   fi
	fi;

	/* examine */
	if
	MAY_FAIL
	:: holds[fresh] > 0 && promoted -> goto remove
	:: holds[fresh] > 0 && !promoted -> goto prove
	:: holds[fresh] == 0 && holds[old] > 0 -> skip
	:: holds[fresh] == 0 && holds[old] == 0 -> goto again
	fi;

	/* add */
	if
	MAY_FAIL
	:: d_step { holds[old] > 0 -> load() }
	:: holds[old] == 0 -> goto again
	fi;
#ifdef BUG_REMOVE_BEFORE_PROMOTE
	d_step { holds[old]--; used--; wrote() }
#endif
	if
	MAY_FAIL
	:: stale[me] -> goto again /* libcryptsetup refuses to write over somebody else's change */
	:: d_step { !stale[me] && used < SLOTS -> used++; holds[fresh]++; wrote() }
	:: d_step { faults > 0 && !stale[me] && used < SLOTS -> faults--; used++; wrote() } /* a keyslot that opens nothing */
	:: !stale[me] && used == SLOTS -> goto no_room
	fi;

prove:
	if
	MAY_FAIL
#ifdef BUG_NO_PROOF
	:: true -> skip
#else
	:: holds[fresh] > 0 -> skip
	:: holds[fresh] == 0 -> goto again
#endif
	fi;
	if
	:: promoted -> goto remove
	:: else
	fi;

	/* promote */
	if
	:: atomic { faults > 0 -> faults--; sent_promote[fresh] = true; goto again }
	:: d_step { sent_promote[fresh] = true; server_promote(fresh, good) }
	   if
	   :: good
	   :: else -> goto again
	   fi
	fi;

#ifdef BUG_RETIRE_BEFORE_REMOVE
	d_step { sent_retire[old] = true; server_retire(old, good) }
#endif
remove:
	/* one keyslot after the other, each from a header that was read anew and opens with the fresh secret */
	if
	MAY_FAIL
	:: holds[fresh] == 0 -> goto again
	:: d_step { holds[fresh] > 0 && holds[old] > 0 -> load() }
	:: holds[fresh] > 0 && holds[old] == 0 -> goto retire
	fi;
	if
	MAY_FAIL
	:: stale[me] -> goto again
	:: d_step { !stale[me] -> holds[old]--; used--; wrote() } goto remove
	:: d_step { !stale[me] && faults > 0 -> faults--; holds[old]--; wrote() } goto again /* wiped, still listed */
	fi;

retire:
	if
	:: atomic { faults > 0 -> faults--; sent_retire[old] = true; goto again }
	:: d_step { sent_retire[old] = true; server_retire(old, good) }
	   goto again /* good: the next rotation; refused: look anew */
	fi;

no_room:
	/* refused, not forced: nothing was changed, and the server forgets the pending secret */
	if
	:: promoted
	:: !promoted ->
		if
		:: d_step { faults > 0 -> faults--; sent_abort = true }
		:: d_step { sent_abort = true; server_abort() }
		fi
	fi;
end:
	skip
}

proctype network()
{
	byte v, n;
	bool opens, good;
end:
	do
	:: late == 0 -> break
	:: d_step { late > 0 && sent_stage -> late--; server_stage() }
	:: d_step { late > 0 && sent_abort -> late--; server_abort() }
	:: atomic { late > 0 ->
		select(n : 1 .. VERSIONS);
		if
		:: sent_promote[n] -> d_step { late--; server_promote(n, good) }
		:: sent_retire[n] -> d_step { late--; server_retire(n, good) }
		:: else -> break
		fi }
	od
}

proctype operator()
{
	byte v;
	bool opens;
end:
	do
	:: d_step { aborts > 0 -> aborts--; server_abort() }
	:: aborts == 0 -> break
	od
}

init {
	atomic {
		state[1] = ACTIVE;
		holds[1] = 1;
		run agent(0);
#if AGENTS > 1
		run agent(1);
#endif
		run network();
		run operator()
	}
}
