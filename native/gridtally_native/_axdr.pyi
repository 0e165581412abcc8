from typing_extensions import Buffer

from gridtally_native._records import ProfileTable

def profile_table(data: Buffer) -> ProfileTable: ...
