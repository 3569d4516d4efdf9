// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// A contract wallet for tests: what its owner's key signed is signed by the wallet (EIP-1271).
contract Wallet1271 {
    address public immutable owner;

    constructor(address newOwner) {
        owner = newOwner;
    }

    /// `signature` is r, s, v packed; anything else is answered with 0xffffffff.
    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) {
            return 0xffffffff;
        }
        address signer =
            ecrecover(digest, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64]));
        return signer != address(0) && signer == owner ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}
