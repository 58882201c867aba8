//! `tail` of uutils' coreutils.

uucore::bin!(uu_tail);
