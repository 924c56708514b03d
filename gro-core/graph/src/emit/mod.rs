//! A graph as text for others.
