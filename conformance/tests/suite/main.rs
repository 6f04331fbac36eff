//! The program as its user runs it: what it makes of subjects, drivers and files that are not as they should be, and what its
//! command line does. Whatever happens, nothing is left.

mod choice;
mod desk;
mod drivers;
mod files;
mod interrupted;
mod plugins;
mod reports;
