//! What an ordinary user has for containers: ids, directories, delegated cgroups.
#![forbid(unsafe_code)]
