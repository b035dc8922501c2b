//! Tests of the store on real files, with real processes and real damage.

mod conformance;
mod crash;
mod damage;
mod places;
mod site;
