//! Plans and elections: decisions of the operator, without IO.
